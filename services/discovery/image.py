"""A TLS library's file as the choice of sites sees it: functions by name and by first byte."""

from __future__ import annotations

from services.discovery import elf
from services.discovery.disassembly import Body
from services.discovery.elf import Elf, MalformedElf
from services.discovery.unwinding import Extents


class FileImage:
    def __init__(self, file: Elf, names: frozenset[str]) -> None:
        self.machine = file.machine
        self._elf = file
        self._extents = Extents(file)
        self._bodies = {
            name: body
            for name, symbol in elf.functions(file, names).items()
            if (body := self._body(name, symbol.address, symbol.size)) is not None
        }

    def named(self, function: str) -> Body | None:
        return self._bodies.get(function)

    def begins_at(self, address: int) -> Body | None:
        return self._body(f"{address:#x}", address, 0)

    def offset(self, address: int) -> int:
        offset = self._elf.file_offset(address)
        if offset is None:
            raise MalformedElf("a function outside the file's code")
        return offset

    def _body(self, name: str, address: int, size: int) -> Body | None:
        end = address + size if size else self._extents.end_of(address)
        if end is None or end - address > elf.MAX_FUNCTION:
            return None
        code = self._elf.code(address, end)
        return Body(name, address, code) if len(code) == end - address else None
