"""The shards of this process: bytes in, the bus's messages out, witnesses to the sinks.

Knows where states are kept; what a batch means is `pairing`'s.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import MutableMapping, Sequence

import msgspec

from services import ledgers, records, subjects
from services.bus import Incoming, Outgoing, behind
from services.collect import delivery, pairing, saving
from services.collect.sinks import Sink
from services.collect.state import Limits, ShardState
from services.groups import Written
from services.messages import (
    FrameBatch,
    Position,
    ServiceLedger,
    TickFrame,
    Witness,
)
from services.stage import Work


class Collector:
    """Makes the works of a stage; `owned` are those whose sums this replica tells. `most` is how
    many bytes a message may have."""

    name = "collect"
    format = saving.FORMAT

    def __init__(self, limits: Limits, most: int, sinks: Sequence[Sink], code: str = "") -> None:
        self.code = code
        self.owned: MutableMapping[int, Work] = {}
        self._limits = limits
        self._delivery = _Delivery(most, sinks)

    def begin(self, shard: int) -> ShardWork:
        return ShardWork(ShardState(shard=shard, limits=self._limits), self._delivery)

    def resume(self, shard: int, written: Written) -> ShardWork | None:
        try:
            state = saving.read(written, self._limits)
        except msgspec.DecodeError:
            return None
        return ShardWork(state, self._delivery) if state.shard == shard else None

    def ledger(self) -> ServiceLedger:
        works = [work for work in self.owned.values() if isinstance(work, ShardWork)]
        counters = Counter({"batches_malformed": 0})
        for state in (work.state for work in works):
            counters.update(state.counters)
            counters["connections_known"] += len(state.connections)
            counters["bytes_buffered"] += state.buffered
            counters["streams_open"] += len(state.streams)
        for sink in self._delivery.sinks:
            counters.update(sink.counters())
        return ServiceLedger(
            service="collect",
            shards=tuple(work.state.shard for work in works),
            positions=tuple(at for work in works for at in work.told.values()),
            exchanges=ledgers.total_exchanges(work.state.ledger() for work in works),
            counters=dict(counters),
        )


class _Delivery:
    """Where witnesses go, whatever their shard."""

    def __init__(self, most: int, sinks: Sequence[Sink]) -> None:
        self.sinks = sinks
        self._most = most

    def deliver(self, witness: Witness) -> Outgoing:
        for sink in self.sinks:
            sink.offer(witness)
        return Outgoing(
            subjects.stored_witness(witness.source),
            delivery.encode(witness, self._most),
            delivery.message_id(witness),
        )


class ShardWork:
    """One shard. `told` is how far each node is folded: a position is told once every witness up to
    it is stored, so that who sees it may read them."""

    def __init__(self, state: ShardState, deliver: _Delivery) -> None:
        self.state = state
        self.told = {node: at for node in state.nodes if (at := _position(state, node)).epoch}
        self._delivery = deliver
        self._messages = 0
        self._untold: deque[tuple[int, Position]] = deque()

    def receive(self, message: Incoming) -> list[Outgoing]:
        self._messages += 1
        witnesses: list[Witness] = []
        if message.interrupted:
            witnesses += pairing.interrupt(self.state, message.interrupted)
        try:
            batch = records.decode_frames(message.payload)
        except records.MalformedBatch:
            self.state.count("batches_malformed")
        else:
            witnesses += pairing.receive(self.state, batch, behind(message.headers))
            self._note_positions(batch)
        return [self._delivery.deliver(witness) for witness in witnesses]

    def skip(self, message: Incoming) -> list[Outgoing]:
        """As if it had had no frames: those that follow show the holes."""
        self._messages += 1
        self.state.count("messages_skipped")
        witnesses: list[Witness] = []
        if message.interrupted:
            witnesses += pairing.interrupt(self.state, message.interrupted)
        try:
            empty = msgspec.structs.replace(records.decode_frames(message.payload), frames=())
        except records.MalformedBatch:
            pass
        else:
            witnesses += pairing.receive(self.state, empty, behind(message.headers))
        return [self._delivery.deliver(witness) for witness in witnesses]

    def stored(self, messages: int) -> None:
        while self._untold and self._untold[0][0] <= messages:
            _, at = self._untold.popleft()
            self.told[at.node] = at

    def decide(self, now: float) -> list[Outgoing]:
        """Nothing here needs a clock: parse tells of a node that is gone."""
        return []

    def write(self, *, everything: bool) -> Written:
        return saving.write(self.state, everything=everything)

    def _note_positions(self, batch: FrameBatch) -> None:
        for frame in batch.frames:
            if type(frame) is TickFrame and frame.node in self.state.nodes:
                self._untold.append((self._messages, _position(self.state, frame.node)))


def _position(state: ShardState, node: str) -> Position:
    progress = state.nodes[node]
    return Position(node=node, shard=state.shard, epoch=progress.epoch, counter=progress.counter)
