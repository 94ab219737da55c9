"""TLS objects whose birth the kernel keeps. A process that ends frees none of them.

Where there is no room for another one, those of processes that have ended are looked for, some at
each tick. Pure but for the map and the memory that it is given.
"""

from __future__ import annotations

from typing import Protocol

from services.capture.layout import CONNECTION_KEY

LOOKED_AT = 1000  # a tick


class BirthsMap(Protocol):
    def first_key(self, key_size: int) -> bytes | None: ...
    def key_after(self, key: bytes) -> bytes | None: ...
    def get(self, key: bytes) -> bytes | None: ...
    def delete(self, key: bytes) -> bool: ...


class Marks(Protocol):
    def generation(self, pid: int) -> int: ...


class Processes(Protocol):
    @property
    def marks(self) -> Marks: ...
    def counter(self, name: str) -> int: ...


class Births:
    def __init__(self, kept: BirthsMap, processes: Processes) -> None:
        self._kept, self._processes = kept, processes
        self._refused = 0
        self._at: bytes | None = None

    def tick(self) -> None:
        refused = self._processes.counter("births_refused")
        if refused != self._refused and self._at is None:
            self._refused = refused
            self._at = self._kept.first_key(CONNECTION_KEY.size)
        for _ in range(LOOKED_AT):
            if self._at is None:
                return
            at, self._at = self._at, self._kept.key_after(self._at)
            if self._has_ended(at):
                self._kept.delete(at)

    def _has_ended(self, key: bytes) -> bool:
        birth = self._kept.get(key)
        _, tgid, _ = CONNECTION_KEY.unpack(key)
        return birth is not None and birth[0] != self._processes.marks.generation(tgid)
