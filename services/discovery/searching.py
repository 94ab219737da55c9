"""Searches what a process has mapped for TLS code that no probe reads; each file once.

Only asked of processes whose TLS was seen on the wire: it reads files whole, within a limit.
"""

from __future__ import annotations

import os

from services import procfs
from services.discovery.code import stacks
from services.discovery.code.elf import MalformedElf
from services.discovery.code.stacks import Marks, Stack
from services.discovery.roots import reaching
from services.discovery.roots.opening import opened

MAX_FILES = 512  # of a process
MAX_FILE = 96 << 20  # bytes that are read of one
MAX_CACHED = 4096
_PIECE = 4 << 20

Key = tuple[int, int, int, int]


class Search:
    def __init__(self) -> None:
        self._found: dict[Key, list[Stack]] = {}
        self.searched = 0  # files
        self.cut = 0  # files that are larger than what is read of one

    def of_process(self, pid: int, covered: frozenset[str]) -> tuple[Stack, ...]:
        """`covered` are paths, as the process calls them, of files that are probed."""
        found = dict[Stack, None]()
        for path, name in self._files(pid):
            if name not in covered:
                found |= dict.fromkeys(self.of_file(path, name))
        return tuple(found)

    def of_file(self, path: str, name: str) -> list[Stack]:
        if (known := stacks.by_name(name)) is not None:
            return [known]
        if not stacks.is_searched(name):
            return []
        try:
            status = os.stat(path)
            key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if key not in self._found:
                while len(self._found) >= MAX_CACHED:
                    self._found.pop(next(iter(self._found)))
                self._found[key] = self._search(path, name)
            return self._found[key]
        except (OSError, ValueError):
            return []

    def _files(self, pid: int) -> list[tuple[str, str]]:
        """(path from here, name to the process), the executable first."""
        own = procfs.executable(pid)
        found = {procfs.link(own): own}
        for mapping in procfs.mappings(pid, b"/") or ():
            if mapping.path not in found and len(found) < MAX_FILES:
                found[mapping.path] = reaching.path_of(pid, mapping)
        return [(path, procfs.shown(name)) for name, path in found.items()]

    def _search(self, path: str, name: str) -> list[Stack]:
        marks, offset, rest = Marks(), 0, b""
        self.searched += 1
        with opened(path) as (read, status):
            try:
                while offset < min(status.st_size, MAX_FILE):
                    piece = read(offset, _PIECE)
                    if not piece:
                        break
                    marks.look(rest + piece)
                    rest, offset = piece[-stacks.OVERLAP :], offset + len(piece)
            except MalformedElf:  # it asks for more than one file may cost
                pass
            self.cut += offset < status.st_size
        return marks.stacks(name)
