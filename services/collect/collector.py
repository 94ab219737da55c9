"""The shards of this process: bytes in, the bus's messages out, witnesses to the sinks.

Knows where states are kept and how their sums add up; what a batch means is `pairing`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from services import records, subjects
from services.bus import Incoming, Outgoing
from services.collect import delivery, pairing
from services.collect.sinks import Sink
from services.collect.state import Limits, ShardState
from services.messages import (
    ExchangeLedger,
    FrameBatch,
    Position,
    ServiceLedger,
    TickFrame,
    Witness,
)
from services.stage import Fold


class Collector:
    """`most` is how many bytes a message may have; `acknowledged` how many the bus has stored."""

    def __init__(
        self, limits: Limits, most: int, sinks: Sequence[Sink], acknowledged: Callable[[], int]
    ) -> None:
        self._limits = limits
        self._most = most
        self._sinks = sinks
        self._acknowledged = acknowledged
        self._produced = 0
        self._folded: dict[tuple[int, str], Position] = {}  # whose witnesses may be under way
        self._stored: dict[tuple[int, str], Position] = {}
        self._states: dict[int, ShardState] = {}
        self._malformed = 0

    def fold_of(self, shard: int) -> Fold:
        state = self._states[shard] = ShardState(shard=shard, limits=self._limits)
        return lambda incoming: self._fold(state, incoming)

    def _fold(self, state: ShardState, incoming: Incoming) -> list[Outgoing]:
        self._settle()
        try:
            batch = records.decode_frames(incoming.payload)
        except records.MalformedBatch:
            self._malformed += 1
            return []
        witnesses = pairing.receive(state, batch)
        self._produced += len(witnesses)
        self._note_positions(state, batch)
        return [self._deliver(witness) for witness in witnesses]

    def _deliver(self, witness: Witness) -> Outgoing:
        for sink in self._sinks:
            sink.offer(witness)
        return Outgoing(
            subjects.stored_witness(witness.source),
            delivery.encode(witness, self._most),
            delivery.message_id(witness),
        )

    def ledger(self) -> ServiceLedger:
        counters = Counter({"batches_malformed": self._malformed})
        for state in self._states.values():
            counters.update(state.counters)
            counters["connections_known"] += len(state.connections)
            counters["bytes_buffered"] += state.buffered
        for sink in self._sinks:
            counters.update(sink.counters())
        return ServiceLedger(
            service="collect",
            shards=tuple(self._states),
            positions=self._positions(),
            exchanges=self._exchanges(),
            counters=dict(counters),
        )

    def _note_positions(self, state: ShardState, batch: FrameBatch) -> None:
        for frame in batch.frames:
            if type(frame) is TickFrame and (progress := state.nodes.get(frame.node)):
                self._folded[state.shard, frame.node] = Position(
                    node=frame.node,
                    shard=state.shard,
                    epoch=progress.epoch,
                    counter=progress.counter,
                )

    def _positions(self) -> tuple[Position, ...]:
        """A position is told once every witness up to it is stored: who sees it may read them."""
        self._settle()
        return tuple(self._stored.values())

    def _settle(self) -> None:
        if self._folded and self._acknowledged() == self._produced:
            self._stored |= self._folded
            self._folded.clear()

    def _exchanges(self) -> ExchangeLedger:
        ledgers = [state.ledger() for state in self._states.values()]
        partial: Counter[str] = Counter()
        for ledger in ledgers:
            partial.update(ledger.partial)
        return ExchangeLedger(
            begun=sum(ledger.begun for ledger in ledgers),
            complete=sum(ledger.complete for ledger in ledgers),
            partial=dict(partial),
            filtered=sum(ledger.filtered for ledger in ledgers),
            open=sum(ledger.open for ledger in ledgers),
        )
