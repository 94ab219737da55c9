"""How a shard's state is cut for its snapshot: connections in groups, so that what is quiet is not
written again, and the rest. Pure; both sides of a snapshot agree on it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

GROUPS = 64


class Written(NamedTuple):
    """Encoded state: what belongs to no connection, and the groups that have changed."""

    rest: bytes
    groups: Mapping[int, bytes]

    def __repr__(self) -> str:
        return f"Written({len(self.rest)} bytes, {len(self.groups)} groups)"


def group_of(connection: int) -> int:
    """Connections are hashes already; their shard is chosen by other bits of them."""
    return (connection ^ connection >> 23 ^ connection >> 47) % GROUPS
