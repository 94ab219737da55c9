"""What a shard knows of its nodes, and the bytes ledger: what was seen, and what became of it.

Knows sums and reasons; what a batch means is `shard`'s.
"""

from __future__ import annotations

from msgspec import Struct, field

from services.messages import KERNEL_LOSS_REASONS, BytesLedger, ShardTotals, UnknownInterval
from services.parse import tracker
from services.parse.connections import Table
from services.parse.emission import Emission, add_counts
from services.parse.limits import Limits

_SPOOL = "spool_overflow"


class NodeState(Struct):
    """What is known of one node in its present epoch. `accounted` are the bytes that arrived or
    are declared missing, `gaps` the missing ones by reason."""

    epoch: int
    counter: int = 0
    boot_ns: int = 0
    anchor_ns: int = 0
    totals: ShardTotals = ShardTotals()
    accounted: int = 0
    gaps: dict[str, int] = {}
    batches_lost: int = 0
    lost_to: str = "expired"  # why batches are lost, beyond what capture's spool gave up
    spool_lost: int = 0  # bytes
    interruption: str = ""  # of the stream; why, if batches turn out to be missing now
    silent: bool = False  # for so long that its connections were ended
    final: bool = False
    held: dict[int, bytes] = {}  # raw batches behind a missing counter
    held_bytes: int = 0
    heard: int = 0  # which of the shard's inputs was its last


class Sums(Struct):
    """Cumulative over all nodes and epochs; `seen_before` is that of epochs that ended."""

    seen_before: int = 0
    parsed: int = 0
    opaque: int = 0
    gaps: dict[str, int] = {}
    unknown: list[UnknownInterval] = []


class ShardState(Struct):
    shard: int
    limits: Limits = Limits()
    counter: int = 0
    inputs: int = 0
    nodes: dict[str, NodeState] = {}
    table: Table = field(default_factory=Table)
    sums: Sums = field(default_factory=Sums)
    counters: dict[str, int] = {}


def ledger(state: ShardState) -> BytesLedger:
    """seen == parsed + opaque + gaps + shed + in_flight: in flight is what the parsers hold, and
    what the kernel tells of that was not given to them and is not declared missing. What is shed
    is told by the kernel's totals alone, as such a connection has ended or never was."""
    sums, nodes = state.sums, state.nodes.values()
    gaps = {reason: size for reason, size in sums.gaps.items() if reason != "shed"}
    untold = sum(map(_shed_untold, nodes))
    return BytesLedger(
        seen=sums.seen_before + sum(map(seen, nodes)),
        parsed=sums.parsed,
        opaque=sums.opaque,
        gaps=gaps,
        shed=sums.gaps.get("shed", 0) + untold,
        in_flight=tracker.held(state.table)
        + sum(seen(node) - node.accounted for node in nodes)
        - untold,
        unknown=tuple(sums.unknown),
    )


def reason(node: NodeState) -> str:
    """Why bytes are missing that the kernel says nothing of. What the spool gave up is known to the
    byte, so that holes are its as far as that goes."""
    if not node.batches_lost:
        return "unexplained"
    spooled = node.gaps.get(_SPOOL, 0) < node.spool_lost
    return _SPOOL if spooled else node.lost_to


def seen(node: NodeState) -> int:
    """The totals may have been read a moment before the records."""
    return max(node.totals.seen_bytes, node.accounted)


def _shed_untold(node: NodeState) -> int:
    """Shed, and in no hole of a connection that is known."""
    untold = max(node.totals.lost.shed - node.gaps.get("shed", 0), 0)
    return min(untold, seen(node) - node.accounted)


def account(state: ShardState, node: NodeState, out: Emission) -> None:
    state.sums.parsed += out.parsed
    state.sums.opaque += out.opaque
    add_counts(state.sums.gaps, out.gaps)
    add_counts(node.gaps, out.gaps)
    add_counts(state.counters, out.counters)
    node.accounted += out.arrived + sum(out.gaps.values())
    excess = node.gaps.get(_SPOOL, 0) - node.spool_lost
    if excess > 0:
        for gaps in (state.sums.gaps, node.gaps):
            add_counts(gaps, {_SPOOL: -excess, node.lost_to: excess})


def close(state: ShardState, node: NodeState, reason: str) -> None:
    """What did not arrive by the end of an epoch, on connections that were never heard of: by the
    kernel's reasons as far as these go."""
    left = seen(node) - node.accounted
    for known, lost in zip(KERNEL_LOSS_REASONS, node.totals.lost.counts(), strict=True):
        part = min(left, max(lost - node.gaps.get(known, 0), 0))
        _add_gap(state, node, known, part)
        left -= part
    _add_gap(state, node, reason, left)


def _add_gap(state: ShardState, node: NodeState, reason: str, size: int) -> None:
    if size:
        add_counts(state.sums.gaps, {reason: size})
        add_counts(node.gaps, {reason: size})
        node.accounted += size
