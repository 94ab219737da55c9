"""Scans the host's processes for TLS libraries that they have mapped.

Knows procfs and how a file that a process mapped is reached from here; a process that ends while it
is looked at is skipped. Plainwire's own processes are not looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from services import procfs
from services.discovery import libraries, system
from services.discovery.files import Files
from services.discovery.inventory import Reach, Seen, targets
from services.messages import Target

_OWN_VERBS = frozenset({"discovery", "capture", "parse", "collect"})


class Scan:
    """One look at all processes; what was learnt of files stays for the next."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.processes = 0

    def look(self) -> list[Seen]:
        seen = [process for pid in procfs.pids() if (process := self._process(pid)) is not None]
        self.processes = len(seen)
        return seen

    def _process(self, pid: int) -> Seen | None:
        mappings = procfs.mappings(pid, libraries.HINT)
        if not mappings:
            return None
        files = dict.fromkeys(m for m in mappings if libraries.is_libssl(m.path))
        reaches = [r for m in files if (r := self._reach(pid, m)) is not None]
        status = procfs.stat(pid)
        if not reaches or status is None or pid == os.getpid() or is_own(procfs.arguments(pid)):
            return None
        return Seen(
            pid=pid,
            start_boot_ns=status.start_boot_ns,
            process=status.process,
            reaches=tuple(reaches),
        )

    def _reach(self, pid: int, mapping: procfs.Mapping) -> Reach | None:
        path = _opening(pid, mapping)
        finding = self._files.find(path)
        if finding is None:
            return None
        return Reach(finding=finding, path=path, name=mapping.path)


def _opening(pid: int, mapping: procfs.Mapping) -> str:
    """The most lasting path that opens the very file that is mapped."""
    if mapping.deleted:
        return procfs.map_file(pid, mapping)
    inside = procfs.in_root(pid, mapping.path)
    try:
        status = os.stat(inside)
    except OSError:
        return procfs.map_file(pid, mapping)
    if status.st_ino != mapping.inode:  # something else has its name now
        return procfs.map_file(pid, mapping)
    try:
        on_host = os.stat(mapping.path)
    except OSError:
        return inside
    return mapping.path if os.path.samestat(status, on_host) else inside


def is_own(arguments: tuple[str, ...]) -> bool:
    """Whether a command line is that of one of Plainwire's services."""
    words = [os.path.basename(argument) for argument in arguments[:8]]
    named = any(word == "plainwire" or word.startswith("services.") for word in words)
    return named and not _OWN_VERBS.isdisjoint(words)


def standing(files: Files, paths: Iterable[str]) -> list[Reach]:
    """Files that are targets before any process maps them."""
    found = ((path, files.find(path)) for path in paths)
    return [Reach(finding=f, path=path, name=path) for path, f in found if f is not None]


def system_targets() -> tuple[Target, ...]:
    """The targets of this host's own libssl, without looking at any process."""
    return targets("", 0, standing(Files(), system.libssl_paths()), ()).targets
