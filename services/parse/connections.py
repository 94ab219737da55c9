"""The connections of a shard as plain data: who owns each, and how far it is read.

Knows how one begins, is named, and is remembered once it is given up; not what it says.
"""

from __future__ import annotations

from msgspec import Struct

from services.messages import Closed, Losses, Opened, OpenFrame, Source
from services.parse import reassembly
from services.parse.dialogue import Dialogue, Undecided
from services.parse.emission import Emission
from services.parse.reassembly import Flow

_GENERATION = 1 << 32  # above the stream numbers of a connection, should it be found again


class Connection(Struct, gc=False):
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
    seen_ns: int = 0  # boot time of its last record, or of its first sight
    closing: Closed | None = None
    gave_up: bool = False  # on bytes that may still come
    number: int = 0  # in the order in which they began, which a table that is read back keeps


class Tombstone(Struct, array_like=True):
    """A connection that was given up while it lived, should it be heard of again; or one that was
    `closed` before all of it had come, so that what comes late is not taken for another."""

    closed: bool
    source: Source
    anchor_ns: int
    nexts: tuple[int, int]
    losts: tuple[Losses, Losses]
    base: int
    number: int = 0  # likewise
    node: str = ""


class Stuck(Struct, array_like=True):
    """Waits since `since_ns` (boot time of its node) at these offsets."""

    since_ns: int
    nexts: tuple[int, int]


class Table(Struct):
    connections: dict[int, Connection] = {}
    tombstones: dict[int, Tombstone] = {}
    stuck: dict[int, Stuck] = {}
    pending_bytes: int = 0
    heavy: dict[int, int] = {}  # what the state of connections takes, where it is much
    weight: int = 0  # of all of these
    swept: dict[str, int] = {}  # when each node's idle connections were last looked for
    numbered: int = 0
    touched: set[int] = set()  # whose connection or tombstone has changed since the last snapshot


class Moment(Struct, frozen=True):
    """Of the batch in hand: where and when; `reason` is why bytes that don't come are missing."""

    node: str
    boot_ns: int
    anchor_ns: int
    patience_ns: int
    reason: str


def open(table: Table, opened: Opened, moment: Moment, out: Emission) -> Connection | None:
    """A connection may be named again: with what is known of it by now. None for another node's:
    ids are unique in space and time, so who uses one that is known elsewhere is mistaken or lies.
    """
    if is_foreign(table, opened.connection, moment):
        out.count("connections_of_another_node")
        return None
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


def find(table: Table, number: int, moment: Moment, out: Emission) -> Connection | None:
    """None for one that is closed, or another node's. One that was never named, because that batch
    is lost, belongs to an unknown workload."""
    if is_foreign(table, number, moment):
        out.count("connections_of_another_node")
        return None
    found = table.connections.get(number)
    if found is not None:
        return found
    buried = table.tombstones.get(number)
    if buried is not None and buried.closed:
        return None
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


def is_foreign(table: Table, number: int, moment: Moment) -> bool:
    """Another node's than the batch in hand."""
    found = table.connections.get(number)
    if found is not None:
        return found.node != moment.node
    buried = table.tombstones.get(number)
    return buried is not None and buried.node not in ("", moment.node)


def bury(table: Table, connection: Connection, out: Emission, *, closed: bool) -> None:
    egress, ingress = connection.flows
    table.numbered += 1
    table.tombstones[connection.id] = Tombstone(
        closed,
        connection.source,
        connection.anchor_ns,
        nexts(connection),
        (egress.lost, ingress.lost),
        connection.base,
        table.numbered,
        connection.node,
    )
    if len(table.tombstones) > out.limits.tombstones:
        oldest = next(iter(table.tombstones))
        del table.tombstones[oldest]
        table.touched.add(oldest)
        out.count("tombstones_dropped")


def waits(connection: Connection) -> bool:
    """For bytes that the kernel has told of."""
    return any(reassembly.waits(flow) for flow in connection.flows)


def nexts(connection: Connection) -> tuple[int, int]:
    """The offsets up to which egress and ingress are read."""
    egress, ingress = connection.flows
    return egress.next, ingress.next


def _begin(table: Table, opened: Opened, moment: Moment) -> Connection:
    buried = table.tombstones.pop(opened.connection, None)
    connection = Connection(
        id=opened.connection,
        node=moment.node,
        source=opened.source,
        anchor_ns=moment.anchor_ns,
        seen_ns=moment.boot_ns,
        flows=(Flow(), Flow()),
        dialogue=Undecided(joined=opened.mid_connection),
    )
    if buried is not None:
        connection.anchor_ns, connection.base = buried.anchor_ns, buried.base + _GENERATION
        connection.dialogue = Undecided(joined=True, base=connection.base)
        for flow, offset, lost in zip(connection.flows, buried.nexts, buried.losts, strict=True):
            flow.next, flow.lost = offset, lost
    table.numbered += 1
    connection.number = table.numbered
    table.connections[connection.id] = connection
    table.touched.add(connection.id)
    return connection
