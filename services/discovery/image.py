"""A TLS library's file as the choice of sites sees it: functions by name and by address."""

from __future__ import annotations

from services.discovery import elf
from services.discovery.disassembly import Body
from services.discovery.elf import Elf, MalformedElf
from services.discovery.unwinding import Extents

_STUBS = (b".plt", b".plt.sec", b".plt.got")  # one FDE spans them all, each is on its own
_STUB = 8  # bytes: the shortest of them


class FileImage:
    def __init__(self, file: Elf, names: frozenset[str]) -> None:
        self.machine = file.machine
        self._elf = file
        self._extents = Extents(file)
        self._bodies = {
            name: body
            for name, symbol in elf.functions(file, names).items()
            if (body := self._symbol(name, symbol.address, symbol.size)) is not None
        }

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
