"""A shard's state as a snapshot has it: connections with their open exchanges in groups, everything
else in the rest.

Knows which connections have changed and how order is kept; not where a snapshot is written.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from services.collect.state import Connection, Exchange, Limits, ShardState
from services.groups import GROUPS, Written, group_of

FORMAT = 4  # of what is written here, with every struct that it holds


class Group(Struct, array_like=True):
    connections: list[tuple[int, Connection]] = []
    exchanges: list[tuple[int, Exchange]] = []


_encode = msgspec.msgpack.Encoder().encode
_decode_rest = msgspec.msgpack.Decoder(ShardState).decode
_decode_group = msgspec.msgpack.Decoder(Group).decode


def write(state: ShardState, *, everything: bool) -> Written:
    """What has changed since the last call; a group that has become empty has no bytes."""
    wanted = range(GROUPS) if everything else {group_of(number) for number in state.touched}
    state.touched.clear()
    groups = {group: Group([], []) for group in wanted}
    if groups:
        _gather(state, groups)
    return Written(_rest(state), {n: _group(group) for n, group in groups.items()})


def read(written: Written, limits: Limits) -> ShardState:
    """With the limits that are set now. Raises msgspec.DecodeError."""
    state = _decode_rest(written.rest)
    state.limits = limits
    groups = [_decode_group(data) for data in written.groups.values()]
    connections = [pair for group in groups for pair in group.connections]
    state.connections = dict(sorted(connections, key=lambda pair: pair[1].number))
    exchanges = [pair for group in groups for pair in group.exchanges]
    state.exchanges = dict(sorted(exchanges, key=lambda pair: pair[0]))
    return state


def _gather(state: ShardState, groups: dict[int, Group]) -> None:
    for number, connection in state.connections.items():
        if (group := groups.get(group_of(number))) is not None:
            group.connections.append((number, connection))
            for exchange in connection.streams.values():
                group.exchanges.append((exchange, state.exchanges[exchange]))


def _group(group: Group) -> bytes:
    return _encode(group) if group.connections else b""


def _rest(state: ShardState) -> bytes:
    return _encode(msgspec.structs.replace(state, connections={}, exchanges={}))
