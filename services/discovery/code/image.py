"""A TLS library's file as the choice of sites sees it: functions by name and by address."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property

from services.discovery.code import elf
from services.discovery.code.disassembly import Body
from services.discovery.code.elf import Elf, MalformedElf
from services.discovery.code.unwinding import Extents

_STUBS = (b".plt", b".plt.sec", b".plt.got")  # one FDE spans them all, each is on its own
_STUB = 8  # bytes: the shortest of them
_DISTANCE = struct.Struct("<i")
_STUB_JUMP = b"\xff\x25"  # jmp *distance(%rip)


class FileImage:
    def __init__(self, file: Elf, names: frozenset[str]) -> None:
        self.machine = file.machine
        self._elf = file
        self._bodies = {
            name: body
            for name, symbol in elf.functions(file, names).items()
            if (body := self._symbol(name, symbol.address, symbol.size)) is not None
        }

    @cached_property
    def _extents(self) -> Extents:
        """Read where it is needed: an executable's table is large, and most have no TLS code."""
        return Extents(self._elf)

    def named(self, function: str) -> Body | None:
        return self._bodies.get(function)

    def begins_at(self, address: int) -> Body | None:
        found = self.around(address)
        return found if found is not None and found.address == address else None

    def around(self, address: int) -> Body | None:
        for name in _STUBS:
            section = self._elf.sections.get(name)
            if section and section.address <= address < section.address + section.size:
                return self._body(name.decode(), address, address + _STUB)
        extent = self._extents.around(address)
        return self._body(hex(extent[0]), *extent) if extent else None

    def stubs(self, function: str) -> frozenset[int]:
        return self._stubs_of.get(function, frozenset())

    def data(self, address: int, size: int) -> bytes:
        return self._elf.constant(address, size)

    def pointers(self, places: frozenset[int]) -> dict[int, int]:
        return elf.pointers(self._elf, places)

    @cached_property
    def _stubs_of(self) -> dict[str, frozenset[int]]:
        """By the name of a function of this file, the addresses of its entries in the PLT."""
        slots = elf.jump_slots(self._elf, frozenset(self._bodies))
        found: dict[str, set[int]] = {}
        for section in _STUBS:
            for stub, slot in _jumps(self._elf, section):
                if slot in slots:
                    found.setdefault(slots[slot], set()).add(stub)
        return {name: frozenset(addresses) for name, addresses in found.items()}

    def offset(self, address: int) -> int:
        offset = self._elf.file_offset(address)
        if offset is None:
            raise MalformedElf("a function outside the file's code")
        return offset

    def _symbol(self, name: str, address: int, size: int) -> Body | None:
        extent = (address, address + size) if size else self._extents.around(address)
        return self._body(name, *extent) if extent and extent[0] == address else None

    def _body(self, name: str, begin: int, end: int) -> Body | None:
        if end - begin > elf.MAX_FUNCTION:
            return None
        code = self._elf.code(begin, end)
        return Body(name, begin, code) if len(code) == end - begin else None


def _jumps(file: Elf, name: bytes) -> Iterator[tuple[int, int]]:
    """Of a section of stubs: each one's address, and the slot that it jumps through."""
    code, size = file.content(name, elf.MAX_STUBS), _STUB if name == b".plt.got" else 2 * _STUB
    for at in range(0, len(code) - size + 1, size) if code else ():
        jump = code.find(_STUB_JUMP, at, at + size)
        end = jump + len(_STUB_JUMP) + _DISTANCE.size
        if jump >= 0 and end <= len(code):
            address = file.sections[name].address
            yield address + at, address + end + _DISTANCE.unpack_from(code, end - 4)[0]
