"""Where functions begin and end by the unwinder's tables, which a stripped file still has.

Knows `.eh_frame_hdr`'s sorted table and the FDE that each entry points to, in the one encoding that
linkers write. Only says what the tables prove: an address that begins no FDE has no extent.
"""

from __future__ import annotations

import struct
from bisect import bisect_right

from services.discovery.code.elf import Elf

_HEADER = b"\x01\x1b\x03\x3b"  # version 1; frame pointer pcrel, count udata4, table datarel sdata4
_COUNT = struct.Struct("<4siI")
_ENTRY = struct.Struct("<ii")
_FDE = struct.Struct("<IIiI")  # length, pointer to the CIE, begin (pcrel), range
_MAX_ENTRIES = 1 << 20
_HIGHEST = (1 << 31) - 1


class Extents:
    """The functions of one file; its table is read once."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._rows: list[tuple[int, ...]] = []
        section = elf.sections.get(b".eh_frame_hdr")
        self._base = section.address if section else 0
        raw = elf.content(b".eh_frame_hdr")
        if len(raw) < _COUNT.size or raw[:4] != _HEADER:
            return
        table = raw[_COUNT.size :]
        count = min(_COUNT.unpack_from(raw)[2], _MAX_ENTRIES, len(table) // _ENTRY.size)
        self._rows = list(_ENTRY.iter_unpack(table[: count * _ENTRY.size]))

    def around(self, address: int) -> tuple[int, int] | None:
        """Begin and end of the function that the address lies in."""
        at = bisect_right(self._rows, (address - self._base, _HIGHEST)) - 1
        if at < 0:
            return None
        begin, fde = (self._base + relative for relative in self._rows[at])
        end = self._end_by(fde, begin)
        return (begin, end) if end is not None and begin <= address < end else None

    def _end_by(self, fde: int, expected: int) -> int | None:
        frames = self._elf.sections.get(b".eh_frame")
        if frames is None or not frames.address <= fde < frames.address + frames.size:
            return None
        raw = self._elf.read(frames.offset + fde - frames.address, _FDE.size)
        if len(raw) < _FDE.size:
            return None
        _, _, begin, length = _FDE.unpack(raw)
        return expected + length if fde + 8 + begin == expected else None
