"""The shards of this process: the bus's bytes in, frames for the bus out, and the sums of all.

Knows where states are kept; what a batch means is `shard`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping

import msgspec

from services import ledgers, records, subjects
from services.bus import Incoming, Outgoing
from services.groups import Written
from services.messages import (
    FrameBatch,
    NodeSilent,
    ServiceLedger,
    silence_id,
)
from services.parse import accounts, saving
from services.parse import shard as shards
from services.parse.accounts import ShardState
from services.parse.emission import add_counts
from services.parse.limits import Limits
from services.records import Kind
from services.stage import Work

SILENT_FOR = 300.0  # seconds


class Parser:
    """Makes the works of a stage; `owned` are those whose sums this replica tells."""

    name = "parse"
    format = saving.FORMAT

    def __init__(self, limits: Limits, code: str = "") -> None:
        self.code = code
        self.owned: MutableMapping[int, Work] = {}
        self._limits = limits

    def begin(self, shard: int) -> ShardWork:
        return ShardWork(ShardState(shard=shard, limits=self._limits))

    def resume(self, shard: int, written: Written) -> ShardWork | None:
        try:
            state = saving.read(written, self._limits)
        except msgspec.DecodeError:
            return None
        return ShardWork(state) if state.shard == shard else None

    def ledger(self) -> ServiceLedger:
        states = [work.state for work in self.owned.values() if isinstance(work, ShardWork)]
        counters = Counter({"batches_malformed": 0})
        for state in states:
            counters.update(state.counters)
            counters["connections_known"] += len(state.table.connections)
            counters["bytes_pending"] += state.table.pending_bytes
        return ServiceLedger(
            service="parse",
            shards=tuple(state.shard for state in states),
            positions=tuple(position for state in states for position in shards.positions(state)),
            bytes=ledgers.total_bytes(accounts.ledger(state) for state in states),
            counters=dict(counters),
        )


class ShardWork:
    """One shard: the bus's messages in, frames for the bus out."""

    def __init__(self, state: ShardState) -> None:
        self.state = state
        self._heard: dict[str, tuple[tuple[int, int], float]] = {}

    def receive(self, message: Incoming) -> list[Outgoing]:
        if message.interrupted:
            shards.interrupt(self.state, message.interrupted)
        try:
            batches = self._fold(message)
        except records.MalformedBatch:
            batches = None
        if batches is None:
            add_counts(self.state.counters, {"batches_malformed": 1})
            return []
        return [_deliver(batch) for batch in batches]

    def skip(self, message: Incoming) -> list[Outgoing]:
        """The next counter of its node shows that a batch is missing: a gap of this reason."""
        if message.interrupted:
            shards.interrupt(self.state, message.interrupted)
        shards.skip(self.state, message.subject)
        return []

    def _fold(self, message: Incoming) -> list[FrameBatch] | None:
        """None for another shard's, and for what claims another node than its subject (who may
        publish on a subject is the bus's to say). Raises MalformedBatch."""
        if records.kind_of(message.payload) is Kind.DECISION:
            silent = records.decode_decision(message.payload)
            mine = message.subject == subjects.raw(self.state.shard, silent.node)
            mine = mine and silent.shard == self.state.shard
            return shards.silence(self.state, silent) if mine else None
        head, found = records.decode_raw(message.payload)
        mine = message.subject == subjects.raw(self.state.shard, head.node)
        mine = mine and head.shard == self.state.shard
        return shards.receive(self.state, head, found) if mine else None

    def stored(self, messages: int) -> None:
        """What is told of parse does not depend on it."""

    def decide(self, now: float) -> list[Outgoing]:
        """Nodes from which nothing has come for too long."""
        found = []
        self._heard = {name: at for name, at in self._heard.items() if name in self.state.nodes}
        for name, node in self.state.nodes.items():
            at = node.epoch, node.counter
            if name not in self._heard or self._heard[name][0] != at:
                self._heard[name] = at, now
            elif now - self._heard[name][1] >= SILENT_FOR and not (node.silent or node.final):
                found.append(_silent(self.state.shard, name, at))
        return found

    def write(self, *, everything: bool) -> Written:
        return saving.write(self.state, everything=everything)


def _silent(shard: int, node: str, at: tuple[int, int]) -> Outgoing:
    told = NodeSilent(node=node, shard=shard, epoch=at[0], counter=at[1])
    return Outgoing(subjects.raw(shard, node), records.encode_decision(told), silence_id(told))


def _deliver(batch: FrameBatch) -> Outgoing:
    return Outgoing(
        subjects.frames(batch.shard),
        records.encode_frames(batch),
        f"{batch.origin}/{batch.piece}",
    )
