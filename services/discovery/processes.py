"""Scans the host's processes for TLS libraries that they have mapped, and names the TLS code of
those whose records were sighted on the wire.

Knows procfs and how a file that a process mapped is reached from here; a process that ends while it
is looked at is skipped. Plainwire's own processes are not looked at.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from services import ourselves, procfs
from services.discovery import inventory, libraries
from services.discovery.files import Files
from services.discovery.inventory import Reach, Seen
from services.discovery.roots import reaching
from services.discovery.roots.containers import Containers
from services.discovery.searching import Search
from services.discovery.unchanged import Unchanged
from services.discovery.wired import Wired
from services.messages import Sighting

SEARCH_AGAIN = 60.0  # seconds: a process may load other code later


class Scan:
    """One look at all processes; what was learnt of files stays for the next."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._containers = Containers()
        self._unchanged = Unchanged()
        self.wired, self.search = Wired(), Search()
        self._named: dict[int, tuple[float, Seen]] = {}  # of those on the wire, and when

    def look(self, pids: Iterable[int] | None = None) -> list[Seen]:
        """At these processes, or at all."""
        if pids is not None:
            self._unchanged.forget(pids)
            return [process for pid in pids if (process := self._process(pid)) is not None]
        present = procfs.pids()
        self._unchanged.begin(present)
        found = [process for pid in present if (process := self._process(pid)) is not None]
        return [*found, *self._ended()]

    def _process(self, pid: int) -> Seen | None:
        status = procfs.stat(pid)
        if status is None or status.state in "ZX" or not status.mapped:
            return None
        if self.wired.has(pid):
            return self._look_at(pid, status)
        looks = status.process, status.start_boot_ns, status.mapped
        return self._unchanged.find(pid, looks, lambda: self._look_at(pid, status))

    def _look_at(self, pid: int, status: procfs.Stat) -> Seen | None:
        reaches = [*self._executable(pid), *self._mapped(pid)]
        on_wire = self.wired.of(pid, status.start_boot_ns) is not None
        if not (reaches or on_wire):
            return None
        if pid == os.getpid() or ourselves.is_own(procfs.arguments(pid)):
            return None
        seen = Seen(
            pid=pid,
            start_boot_ns=status.start_boot_ns,
            process=status.process,
            reaches=tuple(reaches),
            container=self._containers.of(pid),
            besides=tuple(self._besides(pid)) if reaches else (),
        )
        return self._name(seen, time.monotonic()) if on_wire else seen

    def _name(self, seen: Seen, now: float) -> Seen:
        """With the TLS code that is in it besides what is probed; that is searched seldom."""
        since, before = self._named.get(seen.pid, (0.0, seen))
        known = before.on_wire and before.start_boot_ns == seen.start_boot_ns
        if known and before.reaches == seen.reaches and now - since < SEARCH_AGAIN:
            return before
        covered = frozenset(reach.name for reach in seen.reaches if reach.finding.sites)
        unreadable = procfs.is_unreadable(seen.pid)
        stacks = () if unreadable else self.search.of_process(seen.pid, covered)
        named = msgspec.structs.replace(seen, on_wire=True, stacks=stacks, unreadable=unreadable)
        if unreadable:
            named = self._by_sighting(named)
        self._named[seen.pid] = now, named
        return named

    def _by_sighting(self, seen: Seen) -> Seen:
        """Whoever saw it may have been allowed to ask what it runs."""
        sighting = self.wired.of(seen.pid, seen.start_boot_ns)
        path = sighting.executable if sighting else ""
        return msgspec.structs.replace(
            seen, stacks=tuple(self.search.of_file(path, path)) if path else ()
        )

    def _ended(self) -> list[Seen]:
        """Of those on the wire, named as when they lived, or by what they ran."""
        ended = self.wired.ended(procfs.is_alive, time.monotonic())
        for pid in self._named.keys() - self.wired.pids():
            del self._named[pid]
        return [self._as_it_was(sighting) for sighting in ended]

    def _as_it_was(self, sighting: Sighting) -> Seen:
        _, named = self._named.get(sighting.pid, (0.0, None))
        if named is not None and self.wired.of(sighting.pid, named.start_boot_ns) is sighting:
            uncovered = tuple(reach for reach in named.reaches if not reach.finding.sites)
            # It is no target's way now.
            return msgspec.structs.replace(
                named,
                reaches=uncovered,
                besides=(),
                ended=inventory.ENDED if len(uncovered) < len(named.reaches) else "",
                had=inventory.libraries(named.reaches),
            )
        return self._never_looked_at(
            Seen(
                pid=sighting.pid,
                start_boot_ns=sighting.start_boot_ns,
                process=sighting.process,
                reaches=(),
                on_wire=True,
                ended=inventory.ENDED_UNSEEN,
            ),
            sighting.executable,
        )

    def _never_looked_at(self, seen: Seen, executable: str) -> Seen:
        """What it ran may be code that is probed, as is any that runs again."""
        finding = self._files.find(executable) if executable else None
        if finding is not None and finding.covers():
            return msgspec.structs.replace(seen, had=finding.library)
        return self._by_sighting(seen)

    def _mapped(self, pid: int) -> Iterator[Reach]:
        return self._found(pid, libraries.HINTS, libraries.is_tls_library)

    def _besides(self, pid: int) -> Iterator[Reach]:
        return self._found(pid, (libraries.CRYPTO_HINT,), libraries.is_libcrypto)

    def _found(
        self, pid: int, hints: Iterable[bytes], wanted: Callable[[str], bool]
    ) -> Iterator[Reach]:
        for mapping in procfs.mappings(pid, *hints) or ():
            if wanted(mapping.path):
                path = reaching.path_of(pid, mapping)
                finding = self._files.find(path)
                if finding is not None:
                    yield Reach(finding=finding, path=path, name=procfs.shown(mapping.path))

    def _executable(self, pid: int) -> Iterator[Reach]:
        """One that has TLS code linked into it, where its symbols tell."""
        finding = self._files.find(procfs.executable(pid))
        if finding is not None and finding.is_tls():
            path = reaching.executable_of(pid)
            name = procfs.shown(procfs.link(procfs.executable(pid)))
            yield Reach(finding=finding, path=path, name=name)


def standing(files: Files, paths: Iterable[str]) -> list[Reach]:
    """Files that are targets before any process maps them."""
    found = ((path, files.find(path)) for path in paths)
    return [Reach(finding=f, path=path, name=path) for path, f in found if f is not None]
