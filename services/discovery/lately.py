"""Files whose last process has ended not long ago: they stay targets, because what is run again and
again would end before probes are in it each time. Pure but for what it is given to ask of files.

Only what is on a file system that stays mounted: a probe keeps the one that it is on in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from services.discovery.inventory import Finding, Reach
from services.messages import FileIdentity

KEPT = 600.0  # seconds
MAX_FILES = 64


class Lately:
    """`find` says what a path leads to now, `stays` whether the device of a file does."""

    def __init__(self, find: Callable[[str], Finding | None], stays: Callable[[int], bool]) -> None:
        self._find, self._stays = find, stays
        self._used: dict[FileIdentity, tuple[float, Reach]] = {}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._used)

    def unused(self, used: Iterable[Reach], now: float) -> list[Reach]:
        """Those that were used lately and aren't now. `used` are all that are."""
        present = set[FileIdentity]()
        for reach in used:
            identity = reach.finding.identity
            if self._is_kept(reach) and identity not in present:
                present.add(identity)
                self._used.pop(identity, None)
                self._used[identity] = now, reach
        for identity, (since, reach) in list(self._used.items()):
            if now - since > KEPT or not self._is_unchanged(reach):
                del self._used[identity]
        while len(self._used) > MAX_FILES:
            del self._used[next(iter(self._used))]
            self.evicted += 1
        return [reach for identity, (_, reach) in self._used.items() if identity not in present]

    def _is_kept(self, reach: Reach) -> bool:
        finding = reach.finding
        is_lasting = not reach.path.startswith("/proc/")
        return bool(finding.sites) and is_lasting and self._stays(finding.identity.device)

    def _is_unchanged(self, reach: Reach) -> bool:
        found = self._find(reach.path)
        return found is not None and found.identity == reach.finding.identity
