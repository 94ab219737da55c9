"""What happens to connections: read in order, marked, closed once all of theirs has arrived.

Knows which bytes a connection still owes; how long it is waited for them is patience.py's. Does not
know protocols (dialogue.py) nor batches and nodes (shard.py).
"""

from __future__ import annotations

from services.messages import Closed, CloseFrame, Direction, Final, Tail
from services.parse import connections, dialogue, reassembly
from services.parse.connections import Connection, Moment, Table, waits
from services.parse.emission import Emission
from services.parse.reassembly import Hole, Segment
from services.records import Record

_ORDERLY = frozenset({"freed", "reused"})  # a process that exits may have been killed


def receive(table: Table, connection: Connection, record: Record, out: Emission) -> None:
    """The common case, a record that is next in its direction, goes straight to the parser."""
    flow = connection.flows[record.direction]
    size = len(record.payload)
    if record.offset == flow.next and flow.lost == record.lost and not reassembly.waits(flow):
        flow.next += size
        out.arrived += size
        connection.dialogue = dialogue.receive(
            connection.dialogue, record.direction, record.payload, out
        )
        return
    before = flow.pending_bytes
    reassembly.insert(flow, record)
    table.pending_bytes += flow.pending_bytes - before
    _drain(table, connection, out)
    while flow.pending_bytes > out.limits.pending:
        out.count("pending_overflows")
        _give_up(table, connection, "buffer_full", out)


def tail(table: Table, told: Tail, moment: Moment, out: Emission) -> None:
    """A loss at the end of a connection that lives."""
    connection = connections.find(table, told.connection, moment, out)
    if connection is not None:
        _mark(connection, told.direction, told.final, moment)
        _stamp(connection, moment, out)
        _drain(table, connection, out)


def close(table: Table, closed: Closed, moment: Moment, out: Emission) -> None:
    """Ends a connection as soon as all that the kernel sent of it has arrived."""
    if closed.connection not in table.connections and not (
        closed.egress.offset or closed.ingress.offset
    ):
        return
    connection = connections.find(table, closed.connection, moment, out)
    if connection is None:
        return
    connection.closing = closed
    _mark(connection, Direction.EGRESS, closed.egress, moment)
    _mark(connection, Direction.INGRESS, closed.ingress, moment)
    _stamp(connection, moment, out)
    _drain(table, connection, out)
    if not waits(connection):
        finish(table, connection, closed.reason, out)


def end(table: Table, connection: Connection, reason: str, moment: Moment, out: Emission) -> None:
    """At once: what has not arrived is missing."""
    _stamp(connection, moment, out)
    while waits(connection):
        _give_up(table, connection, moment.reason, out)
    finish(table, connection, reason, out)


def give_up_all(table: Table, connection: Connection, reason: str, out: Emission) -> None:
    table.touched.add(connection.id)
    while waits(connection):
        _give_up(table, connection, reason, out)
    if connection.closing is not None:
        finish(table, connection, connection.closing.reason, out)


def held(table: Table) -> int:
    """Bytes that a parser was given and that are neither parsed nor opaque yet."""
    return sum(dialogue.held(connection.dialogue) for connection in table.connections.values())


def _mark(connection: Connection, direction: Direction, final: Final, moment: Moment) -> None:
    reassembly.mark(connection.flows[direction], final, moment.boot_ns)


def _stamp(connection: Connection, moment: Moment, out: Emission) -> None:
    out.connection, out.time_ns = connection.id, moment.boot_ns + connection.anchor_ns


def _drain(table: Table, connection: Connection, out: Emission) -> None:
    """Hands on all that is certain by now."""
    now = out.time_ns
    for direction, flow in enumerate(connection.flows):
        before = flow.pending_bytes
        while (piece := reassembly.advance(flow)) is not None:
            _hand_on(connection, direction, piece, out)
        table.pending_bytes -= before - flow.pending_bytes
    out.time_ns = now
    if waits(connection):
        out.waiting.add(connection.id)


def _hand_on(connection: Connection, direction: int, piece: Segment | Hole, out: Emission) -> None:
    flow, side = connection.flows[direction], dialogue.DIRECTIONS[direction]
    if isinstance(piece, Hole):
        out.gap(piece)
        dialogue.gap(connection.dialogue, side, piece, out)
        return
    late = reassembly.late(flow, piece)
    if late:
        out.count("late_bytes", late)
    data = memoryview(piece.payload)[late:]
    if data:
        flow.next += len(data)
        out.arrived += len(data)
        out.time_ns = piece.boot_ns + connection.anchor_ns
        connection.dialogue = dialogue.receive(connection.dialogue, side, data, out)


def _give_up(table: Table, connection: Connection, reason: str, out: Emission) -> None:
    """The first hole of each direction is missing, and what lies behind it is read."""
    connection.gave_up = True
    for direction, flow in enumerate(connection.flows):
        hole = reassembly.give_up(flow, reason)
        if hole is not None:
            _hand_on(connection, direction, hole, out)
    _drain(table, connection, out)


def finish(table: Table, connection: Connection, reason: str, out: Emission) -> None:
    orderly = reason in _ORDERLY
    dialogue.close(connection.dialogue, out, orderly=orderly)
    out.flush_opaque(connection.id)
    closed = connection.closing
    if closed is not None:
        out.time_ns = closed.boot_ns + connection.anchor_ns
    out.emit(CloseFrame(connection=connection.id, time_ns=out.time_ns, reason=reason))
    del table.connections[connection.id]
    table.touched.add(connection.id)
    table.stuck.pop(connection.id, None)
    if connection.gave_up or reason == "evicted":
        connections.bury(table, connection, out, closed=closed is not None)
