"""What a process was found to be, for as long as it looks the same: who maps a library has more
address space than before. Pure.

That is no proof, so now and then everything is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from services.discovery.inventory import Seen

THOROUGH = 15  # scans

Looks = tuple[str, int, int]  # its name, when it started, its address space in bytes


class Unchanged:
    """Call `begin` before each scan of all."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Looks, Seen | None]] = {}
        self._scans = 0

    def begin(self, present: Iterable[int]) -> None:
        """Those that are gone are forgotten, and sometimes all."""
        self._scans += 1
        if self._scans % THOROUGH == 0:
            self._known.clear()
        self.forget(self._known.keys() - set(present))

    def forget(self, pids: Iterable[int]) -> None:
        for pid in pids:
            self._known.pop(pid, None)

    def find(self, pid: int, looks: Looks, look: Callable[[], Seen | None]) -> Seen | None:
        known = self._known.get(pid)
        if known is not None and known[0] == looks:
            return known[1]
        found = look()
        self._known[pid] = looks, found
        return found
