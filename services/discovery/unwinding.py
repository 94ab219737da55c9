"""Where functions begin and end by the unwinder's tables, which a stripped file still has.

Knows `.eh_frame_hdr`'s sorted table and the FDE that each entry points to, in the one encoding that
linkers write. Only says what the tables prove: an address that begins no FDE has no extent.
"""

from __future__ import annotations

import struct
from bisect import bisect_left

from services.discovery.elf import Elf

_HEADER = b"\x01\x1b\x03\x3b"  # version 1; frame pointer pcrel, count udata4, table datarel sdata4
_COUNT = struct.Struct("<4siI")
_ENTRY = struct.Struct("<ii")
_FDE = struct.Struct("<IIiI")  # length, pointer to the CIE, begin (pcrel), range
_MAX_ENTRIES = 1 << 20


class Extents:
    """Function starts of one file, looked up without reading the table more than once."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._rows: list[tuple[int, ...]] = []
        section = elf.sections.get(b".eh_frame_hdr")
        self._base = section.address if section else 0
        raw = elf.content(b".eh_frame_hdr")
        if len(raw) < _COUNT.size or raw[:4] != _HEADER:
            return
        count = min(_COUNT.unpack_from(raw)[2], _MAX_ENTRIES, (len(raw) - 12) // _ENTRY.size)
        self._rows = list(_ENTRY.iter_unpack(raw[12 : 12 + count * _ENTRY.size]))

    def end_of(self, start: int) -> int | None:
        """The end of the function that begins at `start`, if an FDE says that one does."""
        at = bisect_left(self._rows, (start - self._base, -(1 << 31)))
        if at >= len(self._rows) or self._rows[at][0] != start - self._base:
            return None
        return self._end_by(self._base + self._rows[at][1], start)

    def _end_by(self, fde: int, start: int) -> int | None:
        frames = self._elf.sections.get(b".eh_frame")
        if frames is None or not frames.address <= fde < frames.address + frames.size:
            return None
        raw = self._elf.read(frames.offset + fde - frames.address, _FDE.size)
        if len(raw) < _FDE.size:
            return None
        _, _, begin, length = _FDE.unpack(raw)
        return start + length if fde + 8 + begin == start and length else None
