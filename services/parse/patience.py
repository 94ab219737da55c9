"""How long a shard waits: for bytes under way, for the request of a response.

Time is the watermark of each node's batches, so that a replay waits as long.
"""

from __future__ import annotations

from services.parse import dialogue, tracker
from services.parse.connections import Connection, Moment, Stuck, Table, nexts, waits
from services.parse.emission import Emission


def settle(table: Table, moment: Moment, out: Emission) -> None:
    """Once a batch: ends what waited too long, and begins to count for what waits from now on."""
    for number in out.waiting:
        _watch(table, number, moment)
    for number, stuck in tuple(table.stuck.items()):
        connection = table.connections.get(number)
        if connection is None:
            del table.stuck[number]
        elif connection.node == moment.node:
            table.touched.add(number)
            _settle(table, connection, stuck, moment, out)
    if table.pending_bytes > out.limits.shard_pending:
        _relieve(table, moment, out)


def _relieve(table: Table, moment: Moment, out: Emission) -> None:
    """Gives up what waited for longest, whatever its node, until the rest fits."""
    for number in tuple(table.stuck):
        if table.pending_bytes <= out.limits.shard_pending:
            return
        connection = table.connections.get(number)
        if connection is not None and waits(connection):
            out.count("pending_overflows")
            out.connection, out.time_ns = number, moment.boot_ns + connection.anchor_ns
            tracker.give_up_all(table, connection, "buffer_full", out)


def _watch(table: Table, number: int, moment: Moment) -> None:
    connection = table.connections.get(number)
    if connection is not None and number not in table.stuck:
        table.stuck[number] = Stuck(moment.boot_ns, nexts(connection))


def _settle(
    table: Table, connection: Connection, stuck: Stuck, moment: Moment, out: Emission
) -> None:
    owes = waits(connection)
    if not owes and connection.closing is not None:
        out.connection = connection.id
        tracker.finish(table, connection, connection.closing.reason, out)
    elif not owes and not dialogue.awaits_request(connection.dialogue):
        del table.stuck[connection.id]
    elif stuck.nexts != nexts(connection):
        table.stuck[connection.id] = Stuck(moment.boot_ns, nexts(connection))
    elif owes and moment.boot_ns - stuck.since_ns >= moment.patience_ns:
        out.connection, out.time_ns = connection.id, moment.boot_ns + connection.anchor_ns
        tracker.give_up_all(table, connection, moment.reason, out)
    elif not owes and moment.boot_ns - stuck.since_ns >= out.limits.request_ns:
        out.connection, out.time_ns = connection.id, moment.boot_ns + connection.anchor_ns
        dialogue.stop_waiting(connection.dialogue, out)
        del table.stuck[connection.id]
