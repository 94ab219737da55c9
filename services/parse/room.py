"""How much a shard keeps for its connections, and who gives way: whoever was idle for longest.

Knows counts, weights and how long nothing was heard; a connection that gave way and is heard of
again begins in the middle. Time is the watermark of each node's batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest

from services.parse import dialogue, tracker
from services.parse.connections import Connection, Moment, Table
from services.parse.emission import Emission
from services.parse.limits import SECOND

_EVICT_MORE = 64  # at a time, so that a full table is not searched for each connection
_LIGHT = 4096  # bytes that every connection may take unweighed
_SWEEP = 60 * SECOND


def limit(table: Table, numbers: Iterable[int], moment: Moment, out: Emission) -> None:
    """Once a batch; `numbers` are the connections that it had bytes of."""
    for number in numbers:
        _weigh(table, number, moment, out)
    if table.weight > out.limits.shard_buffered:
        _lighten(table, moment, out)
    excess = len(table.connections) - out.limits.connections
    if excess > 0:
        _thin(table, excess, moment, out)
    if moment.boot_ns - table.swept.setdefault(moment.node, moment.boot_ns) >= _SWEEP:
        table.swept[moment.node] = moment.boot_ns
        _expire(table, moment, out)


def _weigh(table: Table, number: int, moment: Moment, out: Emission) -> None:
    connection = table.connections.get(number)
    if connection is None and number not in table.heavy:
        return
    weight = dialogue.weight(connection.dialogue) if connection else 0
    if connection and weight > out.limits.buffered:
        _evict(table, connection, "connections_too_heavy", moment, out)
        weight = 0
    if weight <= _LIGHT and number not in table.heavy:
        return
    before = table.heavy.pop(number, 0)
    if weight > _LIGHT:
        table.heavy[number] = weight
        table.weight += weight
    table.weight -= before


def _lighten(table: Table, moment: Moment, out: Emission) -> None:
    """Those that are gone weigh nothing any more; of the others the idlest go."""
    for number in [number for number in table.heavy if number not in table.connections]:
        table.weight -= table.heavy.pop(number)
    order = sorted(table.heavy, key=lambda number: table.connections[number].last_input)
    for number in order:
        if table.weight <= out.limits.shard_buffered * 15 // 16:
            return
        table.weight -= table.heavy.pop(number)
        _evict(table, table.connections[number], "connections_lightened", moment, out)


def _thin(table: Table, excess: int, moment: Moment, out: Emission) -> None:
    idle = nsmallest(
        excess + min(_EVICT_MORE, out.limits.connections // 16),
        table.connections.values(),
        key=lambda connection: connection.last_input,
    )
    for connection in idle:
        _evict(table, connection, "connections_evicted", moment, out)


def _expire(table: Table, moment: Moment, out: Emission) -> None:
    since = moment.boot_ns - out.limits.idle_ns
    idle = [
        connection
        for connection in table.connections.values()
        if connection.node == moment.node and connection.seen_ns < since
    ]
    for connection in idle:
        _evict(table, connection, "connections_expired", moment, out)


def _evict(
    table: Table, connection: Connection, counter: str, moment: Moment, out: Emission
) -> None:
    tracker.end(table, connection, "evicted", moment, out)
    table.touched.add(connection.id)
    out.count(counter)
