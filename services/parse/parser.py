"""The shards of this process: the bus's bytes in, frames for the bus out, and the sums of all.

Knows where states are kept; what a batch means is `shard`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from services import records, subjects
from services.bus import Incoming, Outgoing
from services.messages import BytesLedger, FrameBatch, ServiceLedger, UnknownInterval
from services.parse import shard as shards
from services.parse.limits import Limits
from services.parse.shard import ShardState
from services.stage import Fold


class Parser:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._states: dict[int, ShardState] = {}
        self._malformed = 0

    def fold_of(self, shard: int) -> Fold:
        state = self._states[shard] = ShardState(shard=shard, limits=self._limits)
        return lambda incoming: self._fold(state, incoming)

    def _fold(self, state: ShardState, incoming: Incoming) -> list[Outgoing]:
        try:
            head, found = records.decode_raw(incoming.payload)
        except records.MalformedBatch:
            self._malformed += 1
            return []
        if head.shard != state.shard:
            self._malformed += 1
            return []
        return [_deliver(batch) for batch in shards.receive(state, head, found)]

    def ledger(self) -> ServiceLedger:
        states = self._states.values()
        counters = Counter({"batches_malformed": self._malformed})
        for state in states:
            counters.update(state.counters)
            counters["connections_known"] += len(state.table.connections)
            counters["bytes_pending"] += state.table.pending_bytes
        return ServiceLedger(
            service="parse",
            shards=tuple(self._states),
            positions=tuple(position for state in states for position in shards.positions(state)),
            bytes=_sum([shards.ledger(state) for state in states]),
            counters=dict(counters),
        )


def _deliver(batch: FrameBatch) -> Outgoing:
    return Outgoing(
        subjects.frames(batch.shard),
        records.encode_frames(batch),
        f"{batch.origin}/{batch.piece}",
    )


def _sum(ledgers: list[BytesLedger]) -> BytesLedger:
    gaps: Counter[str] = Counter()
    for ledger in ledgers:
        gaps.update(ledger.gaps)
    return BytesLedger(
        seen=sum(ledger.seen for ledger in ledgers),
        parsed=sum(ledger.parsed for ledger in ledgers),
        opaque=sum(ledger.opaque for ledger in ledgers),
        gaps=dict(gaps),
        shed=sum(ledger.shed for ledger in ledgers),
        in_flight=sum(ledger.in_flight for ledger in ledgers),
        unknown=_merged(interval for ledger in ledgers for interval in ledger.unknown),
    )


def _merged(intervals: Iterable[UnknownInterval]) -> tuple[UnknownInterval, ...]:
    """Every shard tells of the same absence of capture. It ends for all of them with one reading,
    and begins with the last word that any of them had."""
    found: dict[tuple[str, int], UnknownInterval] = {}
    for interval in intervals:
        key = interval.node, interval.to_ns
        if key not in found or found[key].from_ns < interval.from_ns:
            found[key] = interval
    return tuple(found.values())
