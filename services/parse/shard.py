"""A shard of parse: raw batches in, frame batches out. Pure: all state is in ShardState.

Knows nodes, epochs, counters and the bytes ledger; connections are the tracker's. Batches of a node
are folded in the order of their counters: a missing one that capture still holds is awaited, one
below is lost. Every frame batch belongs to one raw batch and has the shard's next counter.
"""

from __future__ import annotations

from operator import attrgetter

from msgspec import Struct, field

from services import records as raw
from services.messages import (
    KERNEL_LOSS_REASONS,
    AnyFrame,
    BytesLedger,
    FrameBatch,
    NodeSilent,
    Position,
    RawHead,
    ShardTotals,
    TickFrame,
    UnknownInterval,
    raw_id,
)
from services.parse import connections, patience, room, tracker
from services.parse.connections import Moment, Table
from services.parse.emission import Emission, add_counts
from services.parse.limits import Limits
from services.records import Record

_MAX_UNKNOWN = 100
_SPOOL = "spool_overflow"
_CLOSING = frozenset({"capture_restart", "node_silent"})
_AFTER_SILENCE = 1 << 20  # the pieces of a batch have lower numbers
_by_time = attrgetter("boot_ns")


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


def receive(state: ShardState, head: RawHead, records: list[Record]) -> list[FrameBatch]:
    """The frames of this batch, and of those that waited for it; nothing for a duplicate."""
    batches: list[FrameBatch] = []
    node = state.nodes.get(head.node)
    if node is None:
        node = state.nodes[head.node] = NodeState(epoch=head.epoch)
    elif head.epoch > node.epoch:
        batches += _end_epoch(state, node, head)
        node = state.nodes[head.node] = NodeState(epoch=head.epoch)
    if head.epoch < node.epoch or head.counter <= node.counter or head.counter in node.held:
        add_counts(state.counters, {"batches_repeated": 1})
        return batches
    if _awaits_earlier(node, head):
        _hold(node, head, records)
        if (
            len(node.held) <= state.limits.held_batches
            and node.held_bytes <= state.limits.held_bytes
        ):
            return batches
        add_counts(state.counters, {"held_overflows": 1})
        return batches + _fold_held(state, node, max(node.held))
    batches += _fold_held(state, node, head.counter)
    batches += _fold(state, node, head, records)
    return batches + _fold_held(state, node, node.counter)


def interrupt(state: ShardState, reason: str) -> None:
    """The stream was made anew, expired or was purged: the counters tell what that has cost."""
    add_counts(state.counters, {f"stream_{reason}": 1})
    for node in state.nodes.values():
        node.interruption = reason


def silence(state: ShardState, told: NodeSilent) -> list[FrameBatch]:
    """Ends the connections of a node that is gone, unless it has spoken since."""
    node = state.nodes.get(told.node)
    if node is None or (node.epoch, node.counter) != (told.epoch, told.counter) or node.silent:
        add_counts(state.counters, {"silences_void": 1})
        return []
    node.silent = True
    add_counts(state.counters, {"nodes_silent": 1})
    out = Emission(state.limits)
    _end_connections(state, told.node, _moment(state, told.node, node, "node_silent"), out)
    _account(state, node, out)
    origin = f"{told.node}/{told.epoch}/{state.shard}/{told.counter}"
    return _batches(state, origin, out.pieces(), _AFTER_SILENCE)


def ledger(state: ShardState) -> BytesLedger:
    """seen == parsed + opaque + gaps + shed + in_flight: in flight is what the parsers hold, and
    what the kernel tells of that was not given to them and is not declared missing. What is shed
    is told by the kernel's totals alone, as such a connection has ended or never was."""
    sums, nodes = state.sums, state.nodes.values()
    gaps = {reason: size for reason, size in sums.gaps.items() if reason != "shed"}
    untold = sum(map(_shed_untold, nodes))
    return BytesLedger(
        seen=sums.seen_before + sum(map(_seen, nodes)),
        parsed=sums.parsed,
        opaque=sums.opaque,
        gaps=gaps,
        shed=sums.gaps.get("shed", 0) + untold,
        in_flight=tracker.held(state.table)
        + sum(_seen(node) - node.accounted for node in nodes)
        - untold,
        unknown=tuple(sums.unknown),
    )


def positions(state: ShardState) -> list[Position]:
    return [
        Position(node=name, shard=state.shard, epoch=node.epoch, counter=node.counter)
        for name, node in state.nodes.items()
    ]


# --- order ----------------------------------------------------------------------------------------


def _awaits_earlier(node: NodeState, head: RawHead) -> bool:
    """Some batch before this one is neither here nor lost."""
    first = max(node.counter + 1, head.lowest_held)
    return any(counter not in node.held for counter in range(first, head.counter))


def _hold(node: NodeState, head: RawHead, records: list[Record]) -> None:
    packed = raw.encode_raw(head, [raw.encode_record(record, head.shard) for record in records])
    node.held[head.counter] = packed
    node.held_bytes += len(packed)


def _fold_held(state: ShardState, node: NodeState, upto: int) -> list[FrameBatch]:
    """Those up to this counter, whatever is missing, and then those that are next in order."""
    batches: list[FrameBatch] = []
    for counter in sorted(node.held):
        if counter > max(upto, node.counter + 1):
            break
        packed = node.held.pop(counter)
        node.held_bytes -= len(packed)
        batches += _fold(state, node, *raw.decode_raw(packed))
    return batches


def _end_epoch(state: ShardState, node: NodeState, head: RawHead) -> list[FrameBatch]:
    """Nothing of the older epoch follows. Its frames have the counter 0 of the new one."""
    batches = _fold_held(state, node, max(node.held, default=0))
    out = Emission(state.limits)
    moment = _moment(state, head.node, node, "capture_restart")
    _end_connections(state, head.node, moment, out)
    _account(state, node, out)
    _close_accounts(state, node, "capture_restart")
    state.sums.seen_before += _seen(node)
    state.sums.unknown.append(
        UnknownInterval(
            node=head.node,
            from_ns=node.boot_ns + node.anchor_ns,
            to_ns=head.boot_ns + head.anchor_ns,
        )
    )
    del state.sums.unknown[:-_MAX_UNKNOWN]
    frames = out.pieces()
    return batches + _batches(state, f"{head.node}/{head.epoch}/{head.shard}/0", frames)


# --- one batch ------------------------------------------------------------------------------------


def _fold(
    state: ShardState, node: NodeState, head: RawHead, records: list[Record]
) -> list[FrameBatch]:
    state.inputs += 1
    lost = head.counter - node.counter - 1
    if lost:
        node.batches_lost += lost
        if head.spool_lost_bytes == node.spool_lost:
            node.lost_to = node.interruption or "expired"
        node.spool_lost = head.spool_lost_bytes
        add_counts(state.counters, {"batches_lost": lost, f"batches_lost_{_reason(node)}": lost})
    node.interruption, node.silent = "", False
    node.counter, node.boot_ns, node.anchor_ns = head.counter, head.boot_ns, head.anchor_ns
    node.totals, node.final = head.totals, head.final
    out = Emission(state.limits)
    reason = _reason(node)
    moment = _moment(state, head.node, node, reason)
    _read(state, head, records, moment, out)
    if head.final:
        _end_connections(state, head.node, moment, out)
    room.limit(state.table, {record.connection for record in records}, moment, out)
    out.flush()
    out.emit(
        TickFrame(
            connection=0,
            time_ns=head.boot_ns + head.anchor_ns,
            node=head.node,
            epoch=head.epoch,
            counter=head.counter,
            final=head.final,
        )
    )
    _account(state, node, out)
    if head.final:
        _close_accounts(state, node, reason)
    return _batches(state, raw_id(head), out.pieces())


def _reason(node: NodeState) -> str:
    """Why bytes are missing that the kernel says nothing of. What the spool gave up is known to the
    byte, so that holes are its as far as that goes."""
    if not node.batches_lost:
        return "unexplained"
    spooled = node.gaps.get(_SPOOL, 0) < node.spool_lost
    return _SPOOL if spooled else node.lost_to


def _moment(state: ShardState, name: str, node: NodeState, reason: str) -> Moment:
    limits = state.limits
    patience = limits.expired_ns if node.batches_lost else limits.stuck_ns
    return Moment(name, node.boot_ns, node.anchor_ns, patience, reason)


def _read(
    state: ShardState, head: RawHead, records: list[Record], moment: Moment, out: Emission
) -> None:
    table, inputs = state.table, state.inputs
    known, node = table.connections, head.node
    table.touched.update(opened.connection for opened in head.opened)
    table.touched.update(tail.connection for tail in head.tails)
    table.touched.update(closed.connection for closed in head.closed)
    for opened in head.opened:
        begun = connections.open(table, opened, moment, out)
        if begun is not None:
            begun.last_input = inputs
    for record in sorted(records, key=_by_time):  # what one direction answers comes after it
        connection = known.get(record.connection)
        if connection is None or connection.node != node:
            connection = connections.find(table, record.connection, moment, out)
        if connection is None:
            _refuse(table, record, moment, out)
            continue
        connection.last_input, connection.seen_ns = inputs, record.boot_ns
        table.touched.add(record.connection)
        out.connection = record.connection
        out.time_ns = record.boot_ns + connection.anchor_ns
        tracker.receive(table, connection, record, out)
    for tail in head.tails:
        tracker.tail(table, tail, moment, out)
    for closed in head.closed:
        tracker.close(table, closed, moment, out)
    patience.settle(table, moment, out)


def _refuse(table: Table, record: Record, moment: Moment, out: Emission) -> None:
    """Its connection is closed, so its bytes are in a gap already; or another node's, who can't
    know what they are."""
    size = len(record.payload)
    if not connections.is_foreign(table, record.connection, moment):
        out.count("late_bytes", size)
        return
    out.count("bytes_of_another_node", size)
    out.arrived += size
    out.opaque += size


def _end_connections(state: ShardState, name: str, moment: Moment, out: Emission) -> None:
    """All of a node's: its probes are gone."""
    closing = moment.reason if moment.reason in _CLOSING else "detached"
    for connection in [c for c in state.table.connections.values() if c.node == name]:
        tracker.end(state.table, connection, closing, moment, out)


def _batches(
    state: ShardState, origin: str, pieces: list[tuple[AnyFrame, ...]], first: int = 0
) -> list[FrameBatch]:
    batches = []
    for piece, frames in enumerate(pieces, first):
        state.counter += 1
        batches.append(
            FrameBatch(
                shard=state.shard, counter=state.counter, origin=origin, piece=piece, frames=frames
            )
        )
    return batches


# --- accounts -------------------------------------------------------------------------------------


def _seen(node: NodeState) -> int:
    """The totals may have been read a moment before the records."""
    return max(node.totals.seen_bytes, node.accounted)


def _shed_untold(node: NodeState) -> int:
    """Shed, and in no hole of a connection that is known."""
    untold = max(node.totals.lost.shed - node.gaps.get("shed", 0), 0)
    return min(untold, _seen(node) - node.accounted)


def _account(state: ShardState, node: NodeState, out: Emission) -> None:
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


def _close_accounts(state: ShardState, node: NodeState, reason: str) -> None:
    """What did not arrive by the end of an epoch, on connections that were never heard of: by the
    kernel's reasons as far as these go."""
    left = _seen(node) - node.accounted
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
