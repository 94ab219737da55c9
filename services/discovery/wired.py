"""Processes that capture has sighted on the wire: named as long as they live, and a while longer,
because who asks what was missed may come when all is over. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from services.lifetimes import KEPT_NS, is_same_start
from services.messages import Sighting

MAX_PROCESSES = 4096
_KEPT = KEPT_NS / 1e9


class Wired:
    def __init__(self) -> None:
        self._sighted: dict[int, Sighting] = {}
        self._ended: dict[int, float] = {}
        self.evicted = 0

    def hear(self, sightings: Iterable[Sighting]) -> None:
        for sighting in sightings:
            self._sighted.pop(sighting.pid, None)
            self._ended.pop(sighting.pid, None)
            self._sighted[sighting.pid] = sighting
        while len(self._sighted) > MAX_PROCESSES:
            self._forget(next(iter(self._sighted)))
            self.evicted += 1

    def has(self, pid: int) -> bool:
        return pid in self._sighted

    def pids(self) -> set[int]:
        return set(self._sighted)

    def of(self, pid: int, start_boot_ns: int) -> Sighting | None:
        """The sighting of that very process."""
        found = self._sighted.get(pid)
        if found is None or not found.start_boot_ns:
            return found
        return found if is_same_start(found.start_boot_ns, start_boot_ns) else None

    def ended(self, is_alive: Callable[[int, int], bool], now: float) -> list[Sighting]:
        """Those that have ended not long ago."""
        for pid, sighting in list(self._sighted.items()):
            alive = is_alive(pid, sighting.start_boot_ns)
            if not alive and now - self._ended.setdefault(pid, now) > _KEPT:
                self._forget(pid)
        return [self._sighted[pid] for pid in self._ended]

    def _forget(self, pid: int) -> None:
        del self._sighted[pid]
        self._ended.pop(pid, None)
