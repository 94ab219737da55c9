"""The connection table of a shard: opened, read in order, awaited, closed once all has arrived.

Knows which bytes a connection still owes and for how long it is waited for them; does not know
protocols (dialogue.py) nor batches and nodes (shard.py). Time comes from the node's watermark.
"""

from __future__ import annotations

from heapq import nsmallest

from msgspec import Struct

from services.messages import Closed, CloseFrame, Final, Losses, Opened, OpenFrame, Source
from services.parse import dialogue, reassembly
from services.parse.dialogue import Dialogue, Undecided
from services.parse.emission import Emission
from services.parse.reassembly import Flow, Hole, Segment
from services.records import Record

_ORDERLY = frozenset({"freed", "exited", "reused"})
_GENERATION = 1 << 32
_EVICT_MORE = 64  # at a time, so that a full table is not searched for each connection


class Connection(Struct):
    id: int
    node: str
    source: Source
    anchor_ns: int
    flows: tuple[Flow, Flow]
    dialogue: Dialogue
    local: str | None = None
    peer: str | None = None
    base: int = 0  # of stream numbers: grows each time that the connection was given up
    last_input: int = 0
    closing: Closed | None = None


class Tombstone(Struct, array_like=True):
    """A connection that was given up while it lived, should it be heard of again."""

    source: Source
    anchor_ns: int
    nexts: tuple[int, int]
    losts: tuple[Losses, Losses]
    base: int


class Stuck(Struct, array_like=True):
    """Waits since `since_ns` (boot time of its node) at these offsets."""

    since_ns: int
    nexts: tuple[int, int]


class Table(Struct):
    connections: dict[int, Connection] = {}
    tombstones: dict[int, Tombstone] = {}
    stuck: dict[int, Stuck] = {}
    pending_bytes: int = 0


class Moment(Struct, frozen=True):
    """Of the batch in hand: where and when; `reason` is why bytes that don't come are missing."""

    node: str
    boot_ns: int
    anchor_ns: int
    patience_ns: int
    reason: str


def open(table: Table, opened: Opened, moment: Moment, out: Emission) -> Connection:
    """A connection may be named again: with what is known of it by now."""
    found = table.connections.get(opened.connection)
    if found is None:
        found = _begin(table, opened, moment)
    elif (found.source, found.local, found.peer) == (opened.source, opened.local, opened.peer):
        return found
    found.source, found.local, found.peer = opened.source, opened.local, opened.peer
    out.emit(
        OpenFrame(
            connection=found.id,
            time_ns=opened.first_boot_ns + found.anchor_ns,
            source=opened.source,
            mid_connection=opened.mid_connection,
            local=opened.local,
            peer=opened.peer,
        ),
        1024,
    )
    return found


def find(table: Table, number: int, moment: Moment, out: Emission) -> Connection:
    """One that was never named, because that batch is lost, belongs to an unknown workload."""
    found = table.connections.get(number)
    if found is not None:
        return found
    buried = table.tombstones.get(number)
    source = (
        buried.source
        if buried
        else Source(node=moment.node, namespace="unknown", workload="unknown")
    )
    out.count("connections_found_again" if buried else "connections_never_named")
    unnamed = Opened(
        connection=number, source=source, first_boot_ns=moment.boot_ns, mid_connection=True
    )
    return open(table, unnamed, moment, out)


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
    reassembly.insert(flow, record)
    table.pending_bytes += size
    _drain(table, connection, out)
    while flow.pending_bytes > out.limits.pending:
        out.count("pending_overflows")
        _give_up(table, connection, "buffer_full", out)


def mark(
    table: Table,
    connection: Connection,
    finals: tuple[Final | None, Final | None],
    moment: Moment,
    out: Emission,
) -> None:
    """How far the kernel got, by direction, as a tail or a close tells it."""
    for flow, final in zip(connection.flows, finals, strict=True):
        if final is not None:
            reassembly.mark(flow, final, moment.boot_ns)
    out.connection, out.time_ns = connection.id, moment.boot_ns + connection.anchor_ns
    _drain(table, connection, out)


def close(table: Table, closed: Closed, moment: Moment, out: Emission) -> None:
    """Ends a connection as soon as all that the kernel sent of it has arrived."""
    if closed.connection not in table.connections and not (
        closed.egress.offset or closed.ingress.offset
    ):
        return
    connection = find(table, closed.connection, moment, out)
    connection.closing = closed
    mark(table, connection, (closed.egress, closed.ingress), moment, out)
    if not _waits(connection):
        _finish(table, connection, closed.reason, out)


def end(table: Table, connection: Connection, reason: str, moment: Moment, out: Emission) -> None:
    """At once: what has not arrived is missing."""
    out.connection, out.time_ns = connection.id, moment.boot_ns + connection.anchor_ns
    while _waits(connection):
        _give_up(table, connection, moment.reason, out)
    _finish(table, connection, reason, out)


def settle(table: Table, moment: Moment, out: Emission) -> None:
    """Once a batch: ends what waited too long, and begins to count for what waits from now on."""
    for number in out.waiting:
        _watch(table, number, moment)
    for number, stuck in tuple(table.stuck.items()):
        connection = table.connections.get(number)
        if connection is None:
            del table.stuck[number]
        elif connection.node == moment.node:
            _settle(table, connection, stuck, moment, out)
    while table.pending_bytes > out.limits.shard_pending and table.stuck:
        connection = table.connections[next(iter(table.stuck))]
        out.count("pending_overflows")
        out.connection = connection.id
        _give_up_all(table, connection, "buffer_full", out)
        del table.stuck[connection.id]


def limit(table: Table, moment: Moment, out: Emission) -> None:
    """Gives up the connections that were idle for longest, beyond the limit."""
    excess = len(table.connections) - out.limits.connections
    if excess <= 0:
        return
    idle = nsmallest(
        excess + min(_EVICT_MORE, out.limits.connections // 16),
        table.connections.values(),
        key=lambda connection: connection.last_input,
    )
    for connection in idle:
        end(table, connection, "evicted", moment, out)
        out.count("connections_evicted")
        _bury(table, connection, out)


def held(table: Table) -> int:
    """Bytes that arrived and are neither parsed nor opaque yet."""
    return table.pending_bytes + sum(dialogue.held(c.dialogue) for c in table.connections.values())


def _begin(table: Table, opened: Opened, moment: Moment) -> Connection:
    buried = table.tombstones.pop(opened.connection, None)
    connection = Connection(
        id=opened.connection,
        node=moment.node,
        source=opened.source,
        anchor_ns=moment.anchor_ns,
        flows=(Flow(), Flow()),
        dialogue=Undecided(joined=opened.mid_connection),
    )
    if buried is not None:
        connection.anchor_ns, connection.base = buried.anchor_ns, buried.base + _GENERATION
        connection.dialogue = Undecided(joined=True, base=connection.base)
        for flow, offset, lost in zip(connection.flows, buried.nexts, buried.losts, strict=True):
            flow.next, flow.lost = offset, lost
    table.connections[connection.id] = connection
    return connection


def _drain(table: Table, connection: Connection, out: Emission) -> None:
    """Hands on all that is certain by now."""
    now = out.time_ns
    for direction, flow in enumerate(connection.flows):
        before = flow.pending_bytes
        while (piece := reassembly.advance(flow)) is not None:
            _hand_on(connection, direction, piece, out)
        table.pending_bytes -= before - flow.pending_bytes
    out.time_ns = now
    if _waits(connection):
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


def _waits(connection: Connection) -> bool:
    return any(reassembly.waits(flow) for flow in connection.flows)


def _watch(table: Table, number: int, moment: Moment) -> None:
    connection = table.connections.get(number)
    if connection is not None and number not in table.stuck:
        table.stuck[number] = Stuck(moment.boot_ns, _nexts(connection))


def _settle(
    table: Table, connection: Connection, stuck: Stuck, moment: Moment, out: Emission
) -> None:
    waits = _waits(connection)
    if not waits and not dialogue.awaits_request(connection.dialogue):
        del table.stuck[connection.id]
    elif stuck.nexts != _nexts(connection):
        table.stuck[connection.id] = Stuck(moment.boot_ns, _nexts(connection))
    elif waits and moment.boot_ns - stuck.since_ns >= moment.patience_ns:
        out.connection, out.time_ns = connection.id, moment.boot_ns + connection.anchor_ns
        _give_up_all(table, connection, moment.reason, out)
    elif not waits and moment.boot_ns - stuck.since_ns >= out.limits.request_ns:
        out.connection, out.time_ns = connection.id, moment.boot_ns + connection.anchor_ns
        dialogue.stop_waiting(connection.dialogue, out)
        del table.stuck[connection.id]


def _give_up_all(table: Table, connection: Connection, reason: str, out: Emission) -> None:
    while _waits(connection):
        _give_up(table, connection, reason, out)
    if connection.closing is not None:
        _finish(table, connection, connection.closing.reason, out)


def _give_up(table: Table, connection: Connection, reason: str, out: Emission) -> None:
    """The first hole of each direction is missing, and what lies behind it is read."""
    for direction, flow in enumerate(connection.flows):
        hole = reassembly.give_up(flow, reason)
        if hole is not None:
            _hand_on(connection, direction, hole, out)
    _drain(table, connection, out)


def _finish(table: Table, connection: Connection, reason: str, out: Emission) -> None:
    orderly = reason in _ORDERLY
    dialogue.close(connection.dialogue, out, orderly=orderly)
    out.flush_opaque(connection.id)
    closed = connection.closing
    if closed is not None:
        out.time_ns = closed.boot_ns + connection.anchor_ns
    out.emit(CloseFrame(connection=connection.id, time_ns=out.time_ns, reason=reason))
    del table.connections[connection.id]
    table.stuck.pop(connection.id, None)


def _bury(table: Table, connection: Connection, out: Emission) -> None:
    egress, ingress = connection.flows
    table.tombstones[connection.id] = Tombstone(
        connection.source,
        connection.anchor_ns,
        _nexts(connection),
        (egress.lost, ingress.lost),
        connection.base,
    )
    if len(table.tombstones) > out.limits.tombstones:
        del table.tombstones[next(iter(table.tombstones))]
        out.count("tombstones_dropped")


def _nexts(connection: Connection) -> tuple[int, int]:
    egress, ingress = connection.flows
    return egress.next, ingress.next
