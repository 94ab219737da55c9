"""Coverage as one message of the bus: what finds no room in it is left out, and counted. Pure.

Knows what matters least, not what any of it means to whoever reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from services.messages import Coverage, CoverageEntry, Target

T = TypeVar("T")
_ROOM_TO_COUNT = 100  # bytes that the counts take


def fitting(coverage: Coverage, max_bytes: int) -> Coverage:
    """Where probes sit goes first, then processes, those that ended before those that live and
    those that are missed last, then files: who waits for probes looks for them."""
    excess = _size(coverage) - max_bytes
    if excess <= 0:
        return coverage
    excess += _ROOM_TO_COUNT
    attached, excess = _without_sites(coverage.attached, excess)
    processes, excess = _cut(coverage.processes, _worth, excess)
    failed, excess = _cut(coverage.failed, _all_alike, excess)
    attached, _ = _cut(attached, _all_alike, excess)
    return msgspec.structs.replace(
        coverage,
        attached=attached,
        processes=processes,
        failed=failed,
        untold_processes=coverage.untold_processes + len(coverage.processes) - len(processes),
        untold_files=len(coverage.attached) - len(attached) + len(coverage.failed) - len(failed),
        untold_sites=_sites(coverage.attached) - _sites(attached),
    )


def _without_sites(targets: tuple[Target, ...], excess: int) -> tuple[tuple[Target, ...], int]:
    kept = list(targets)
    for place in range(len(kept) - 1, -1, -1):
        if excess <= 0:
            break
        bare = msgspec.structs.replace(kept[place], sites=(), omitted=())
        excess -= _size(kept[place]) - _size(bare)
        kept[place] = bare
    return tuple(kept), excess


def _cut(items: tuple[T, ...], worth: Callable[[T], int], excess: int) -> tuple[tuple[T, ...], int]:
    """Without those of least worth, of these the last first; the others stay in order."""
    if excess <= 0:
        return items, excess
    gone = set[int]()
    for place in sorted(range(len(items)), key=lambda place: (worth(items[place]), -place)):
        if excess <= 0:
            break
        excess -= _size(items[place]) + 1
        gone.add(place)
    return tuple(item for place, item in enumerate(items) if place not in gone), excess


def _worth(entry: CoverageEntry) -> int:
    if entry.ended:
        return 0
    return 2 if entry.state in ("not_captured", "partly") else 1


def _all_alike(_: object) -> int:
    return 0


def _sites(targets: tuple[Target, ...]) -> int:
    return sum(len(target.sites) for target in targets)


def _size(item: object) -> int:
    return len(msgspec.json.encode(item))
