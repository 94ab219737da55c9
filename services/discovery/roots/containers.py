"""Which container a process is in, and what its engine says of it, as far as that can be read.

Knows /proc and the host's file system; forms of cgroups and of engines' files are others'.
"""

from __future__ import annotations

import os
import time

import msgspec

from services import cgroups, procfs
from services.discovery.roots import engines
from services.discovery.roots.opening import contents
from services.messages import Container

MAX_KNOWN = 4096
MAX_READ = 4 << 20  # bytes of an engine's file
AGAIN = 10.0  # seconds, where nothing was found


class Containers:
    """Each container's files are read once; of one of whom nothing is said, now and then."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Container]] = {}

    def of(self, pid: int) -> Container:
        """One without id where the process is in none."""
        identity = cgroups.container(procfs.cgroup(pid) or "")
        if not identity:
            return Container(id="")
        due, known = self._known.get(identity, (0.0, None))
        if known is None or time.monotonic() > due:
            found = _read(pid, identity)
            due = float("inf") if found else time.monotonic() + AGAIN
            known = found or Container(id=identity)
            while len(self._known) >= MAX_KNOWN:
                self._known.pop(next(iter(self._known)))
            self._known[identity] = (due, known)
        return known


def _read(pid: int, identity: str) -> Container | None:
    host = procfs.mount_table(1) or procfs.mount_table(os.getpid())
    folders = engines.docker_folders(procfs.mount_table(pid), host, identity)
    for path, read in engines.files(identity, folders):
        for root in (f"{procfs.PROC}/1/root", ""):
            try:
                if found := read(contents(root + path, MAX_READ), identity):
                    return found
            except (OSError, msgspec.DecodeError, ValueError):
                continue
    return None
