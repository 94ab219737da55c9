"""A shard of parse: raw batches in, frame batches out. Pure: all state is in ShardState.

Knows nodes, epochs and counters; connections are the tracker's, sums are accounts'. Batches of a
node are folded in the order of their counters: a missing one that capture still holds is awaited,
one below is lost. Every frame batch belongs to one raw batch and has the shard's next counter.
"""

from __future__ import annotations

from operator import attrgetter

from services import records as raw
from services import subjects
from services.messages import (
    AnyFrame,
    FrameBatch,
    NodeSilent,
    Position,
    RawHead,
    TickFrame,
    UnknownInterval,
    raw_id,
)
from services.parse import accounts, connections, patience, room, tracker
from services.parse.accounts import NodeState, ShardState, ledger
from services.parse.connections import Moment, Table
from services.parse.emission import Emission, add_counts
from services.records import Record

__all__ = ["ShardState", "interrupt", "ledger", "positions", "receive", "silence", "skip"]

_MAX_UNKNOWN = 100
_CLOSING = frozenset({"capture_restart", "node_silent"})
_AFTER_SILENCE = 1 << 20  # the pieces of a batch have lower numbers
_FORGOTTEN = 1 << 21
_by_time = attrgetter("boot_ns")


def receive(state: ShardState, head: RawHead, records: list[Record]) -> list[FrameBatch]:
    """The frames of this batch, and of those that waited for it; nothing for a duplicate."""
    batches: list[FrameBatch] = []
    node = state.nodes.get(head.node)
    if node is None:
        batches += _make_room(state)
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
    """The stream was made anew, or may have expired or been purged: the counters tell whether, and
    what that has cost."""
    if reason == "bus_restart":
        add_counts(state.counters, {"stream_bus_restart": 1})
    for node in state.nodes.values():
        node.interruption = reason


def skip(state: ShardState, subject: str) -> None:
    """A batch of this subject's node could not be folded: its bytes will be missing."""
    add_counts(state.counters, {"messages_skipped": 1})
    for name, node in state.nodes.items():
        if subjects.raw(state.shard, name) == subject:
            node.interruption = "skipped"


def silence(state: ShardState, told: NodeSilent) -> list[FrameBatch]:
    """Ends the connections of a node that is gone, unless it has spoken since."""
    node = state.nodes.get(told.node)
    if node is None or (node.epoch, node.counter) != (told.epoch, told.counter) or node.silent:
        add_counts(state.counters, {"silences_void": 1})
        return []
    node.silent = True
    add_counts(state.counters, {"nodes_silent": 1})
    return _leave(state, told.node, node, _AFTER_SILENCE)


def _leave(state: ShardState, name: str, node: NodeState, first: int) -> list[FrameBatch]:
    out = Emission(state.limits)
    _end_connections(state, name, _moment(state, name, node, "node_silent"), out)
    accounts.account(state, node, out)
    origin = f"{name}/{node.epoch}/{state.shard}/{node.counter}"
    return _batches(state, origin, out.pieces(), first)


def _make_room(state: ShardState) -> list[FrameBatch]:
    """Of too many nodes the one that was silent for longest is forgotten; its sums are kept.
    Whoever lives says something every second, so that it is one that is gone."""
    if len(state.nodes) < state.limits.nodes:
        return []
    name, node = min(state.nodes.items(), key=lambda item: item[1].heard)
    batches = _fold_held(state, node, max(node.held, default=0))
    batches += _leave(state, name, node, _FORGOTTEN)
    accounts.close(state, node, "node_silent")
    state.sums.seen_before += accounts.seen(node)
    del state.nodes[name]
    state.table.swept.pop(name, None)
    add_counts(state.counters, {"nodes_forgotten": 1})
    return batches


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
    accounts.account(state, node, out)
    accounts.close(state, node, "capture_restart")
    state.sums.seen_before += accounts.seen(node)
    state.sums.unknown.append(
        UnknownInterval(
            node=head.node,
            from_ns=node.boot_ns + node.anchor_ns,
            to_ns=head.boot_ns + head.anchor_ns,
        )
    )
    if len(state.sums.unknown) > _MAX_UNKNOWN:
        del state.sums.unknown[0]
        add_counts(state.counters, {"unknown_intervals_untold": 1})
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
            if node.lost_to != "bus_restart":
                add_counts(state.counters, {f"stream_{node.lost_to}": 1})
        node.spool_lost = head.spool_lost_bytes
        why = f"batches_lost_{accounts.reason(node)}"
        add_counts(state.counters, {"batches_lost": lost, why: lost})
    node.interruption, node.silent, node.heard = "", False, state.inputs
    node.counter, node.boot_ns, node.anchor_ns = head.counter, head.boot_ns, head.anchor_ns
    node.totals, node.final = head.totals, head.final
    out = Emission(state.limits)
    reason = accounts.reason(node)
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
    accounts.account(state, node, out)
    if head.final:
        accounts.close(state, node, reason)
    return _batches(state, raw_id(head), out.pieces())


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
