"""The kernel's own record of every file that is mapped executable: perf's side band, a ring a CPU.

Cheaper than any tracepoint: no system call takes a slower path for it, an exec is seen by what it
maps, and the record names the inode. Knows perf_event_open(2) and its records, not their worth.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from services.capture import syscalls
from services.capture.child.novelty import INODE

_ONLINE = Path("/sys/devices/system/cpu/online")
_PAGES = 16  # a ring's, beside its head: some 600 mappings
_SIZE = _PAGES * mmap.PAGESIZE
_HEAD, _TAIL = 1024 // 8, 1032 // 8  # words of the first page
_RECORD = struct.Struct("<IHH")  # type, misc, size
_LOST, _MMAP2 = 2, 10
_LOST_COUNT = struct.Struct("<8xQ")
_PID = struct.Struct("<I")
# After the header: pid, tid, address, length, offset; then device, inode and generation.
_FILE, _FILE_END = 32, 56
_NO_INODE = bytes(8)


class Mappings:
    """Raises OSError where the kernel refuses. Ends with `close`, or with the process."""

    def __init__(self) -> None:
        self.missed = 0
        self._rings: list[tuple[int, mmap.mmap]] = []
        try:
            for cpu in online(_ONLINE.read_text()):
                event = syscalls.open_mapping_events(cpu)
                self._rings.append((event, mmap.mmap(event, mmap.PAGESIZE + _SIZE)))
        except OSError:
            self.close()
            raise

    @property
    def descriptors(self) -> list[int]:
        """They become readable when something is written, and say so once, to whoever asks: one
        that is watched only afterwards may never be."""
        return [event for event, _ in self._rings]

    def waiting(self) -> bool:
        """Whether something has not been taken."""
        return any(_is_waiting(ring) for _, ring in self._rings)

    def take(self) -> list[tuple[int, bytes]]:
        """(process, file) of what was mapped since the last call."""
        found: list[tuple[int, bytes]] = []
        for _, ring in self._rings:
            data = _taken(ring)
            for kind, body in records(data):
                if kind == _MMAP2 and body[_FILE:_FILE_END][INODE] != _NO_INODE:
                    found.append((_PID.unpack_from(body)[0], body[_FILE:_FILE_END]))
                elif kind == _LOST:
                    self.missed += _LOST_COUNT.unpack_from(body)[0]
        return found

    def close(self) -> None:
        for event, ring in self._rings:
            ring.close()
            os.close(event)
        self._rings.clear()


def _is_waiting(ring: mmap.mmap) -> bool:
    with memoryview(ring) as whole, whole[: mmap.PAGESIZE].cast("Q") as words:
        return words[_HEAD] != words[_TAIL]


def _taken(ring: mmap.mmap) -> bytes:
    with memoryview(ring) as whole, whole[: mmap.PAGESIZE].cast("Q") as words:
        head, tail = words[_HEAD], words[_TAIL]
        first = mmap.PAGESIZE + tail % _SIZE
        data = ring[first : min(first + head - tail, len(ring))]
        if len(data) < head - tail:
            data += ring[mmap.PAGESIZE : mmap.PAGESIZE + head - tail - len(data)]
        words[_TAIL] = head
    return data


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each."""
    position = 0
    while position + _RECORD.size <= len(data):
        kind, _, size = _RECORD.unpack_from(data, position)
        if size < _RECORD.size:
            return
        yield kind, data[position + _RECORD.size : position + size]
        position += size


def online(text: str) -> list[int]:
    """`0-3,8` as numbers."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
