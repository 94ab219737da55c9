"""A shard's state as a snapshot has it: connections in groups, everything else in the rest.

Knows which connections have changed and how order is kept; not where a snapshot is written.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from services.groups import GROUPS, Written, group_of
from services.parse.accounts import ShardState
from services.parse.connections import Connection, Table, Tombstone
from services.parse.limits import Limits

FORMAT = 5  # of what is written here, with every struct that it holds


class Group(Struct, array_like=True):
    connections: list[Connection] = []
    tombstones: list[tuple[int, Tombstone]] = []


_encode = msgspec.msgpack.Encoder().encode
_decode_rest = msgspec.msgpack.Decoder(ShardState).decode
_decode_group = msgspec.msgpack.Decoder(Group).decode


def write(state: ShardState, *, everything: bool) -> Written:
    """What has changed since the last call; a group that has become empty has no bytes."""
    table = state.table
    wanted = range(GROUPS) if everything else {group_of(number) for number in table.touched}
    table.touched.clear()
    groups = {group: Group([], []) for group in wanted}
    if groups:
        _gather(table, groups)
    return Written(_rest(state), {n: _group(group) for n, group in groups.items()})


def read(written: Written, limits: Limits) -> ShardState:
    """With the limits that are set now. Raises msgspec.DecodeError."""
    state = _decode_rest(written.rest)
    state.limits = limits
    groups = [_decode_group(data) for data in written.groups.values()]
    connections = [connection for group in groups for connection in group.connections]
    connections.sort(key=lambda connection: connection.number)
    buried = [pair for group in groups for pair in group.tombstones]
    buried.sort(key=lambda pair: pair[1].number)
    state.table.connections = {connection.id: connection for connection in connections}
    state.table.tombstones = dict(buried)
    return state


def _gather(table: Table, groups: dict[int, Group]) -> None:
    for connection in table.connections.values():
        if (group := groups.get(group_of(connection.id))) is not None:
            group.connections.append(connection)
    for number, tombstone in table.tombstones.items():
        if (group := groups.get(group_of(number))) is not None:
            group.tombstones.append((number, tombstone))


def _group(group: Group) -> bytes:
    return _encode(group) if group.connections or group.tombstones else b""


def _rest(state: ShardState) -> bytes:
    table = msgspec.structs.replace(state.table, connections={}, tombstones={})
    return _encode(msgspec.structs.replace(state, table=table))
