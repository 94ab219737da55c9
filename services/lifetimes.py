"""Which process a pid means, and how long one that has ended is still told of. Pure."""

from __future__ import annotations

KEPT_NS = 60_000_000_000  # after the end: who asks what was missed may come when all is over
TICK_NS = 10_000_000  # what /proc says of a start is that exact


def is_same_start(one_boot_ns: int, other_boot_ns: int) -> bool:
    return abs(one_boot_ns - other_boot_ns) <= TICK_NS
