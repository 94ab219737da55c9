"""Scans the host's processes for TLS libraries that they have mapped.

Knows procfs and how a file that a process mapped is reached from here; a process that ends while it
is looked at is skipped. Plainwire's own processes are not looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from services import procfs
from services.discovery import libraries, reaching
from services.discovery.containers import Containers
from services.discovery.files import Files
from services.discovery.inventory import Reach, Seen


class Scan:
    """One look at all processes; what was learnt of files stays for the next."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._containers = Containers()

    def look(self, pids: Iterable[int] | None = None) -> list[Seen]:
        """At these processes, or at all."""
        wanted = procfs.pids() if pids is None else pids
        return [process for pid in wanted if (process := self._process(pid)) is not None]

    def _process(self, pid: int) -> Seen | None:
        reaches = [*self._executable(pid), *self._mapped(pid)]
        status = procfs.stat(pid) if reaches else None
        if status is None or pid == os.getpid() or procfs.is_own(procfs.arguments(pid)):
            return None
        return Seen(
            pid=pid,
            start_boot_ns=status.start_boot_ns,
            process=status.process,
            reaches=tuple(reaches),
            container=self._containers.of(pid),
        )

    def _mapped(self, pid: int) -> Iterator[Reach]:
        for mapping in procfs.mappings(pid, *libraries.HINTS) or ():
            if libraries.is_tls_library(mapping.path):
                path = reaching.path_of(pid, mapping)
                finding = self._files.find(path)
                if finding is not None:
                    yield Reach(finding=finding, path=path, name=mapping.path)

    def _executable(self, pid: int) -> Iterator[Reach]:
        """One that has TLS code linked into it, where its symbols tell."""
        finding = self._files.find(procfs.executable(pid))
        if finding is not None and finding.family is not None:
            path = reaching.executable_of(pid)
            yield Reach(finding=finding, path=path, name=procfs.link(procfs.executable(pid)))


def standing(files: Files, paths: Iterable[str]) -> list[Reach]:
    """Files that are targets before any process maps them."""
    found = ((path, files.find(path)) for path in paths)
    return [Reach(finding=f, path=path, name=path) for path, f in found if f is not None]
