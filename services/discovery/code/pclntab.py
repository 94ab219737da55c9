"""Go's own table of functions, which survives `strip`: by name, where each begins and ends.

Since Go 1.18 (debug/gosym, runtime/symtab.go). It is found by its section or, where the linker gave
it none, by its magic. Addresses count from runtime.text, which the table itself no longer says
(Go 1.26), so whoever asks for a function is given candidates and proves one by the code there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from msgspec import Struct

from services.discovery.code.elf import Elf, Segment

SECTIONS = (b".gopclntab", b".data.rel.ro.gopclntab")
MAGICS = (0xFFFFFFF0, 0xFFFFFFF1)  # Go 1.18, 1.20
OLD_MAGICS = (0xFFFFFFFA, 0xFFFFFFFB)
MAX_FUNCTIONS = 4 << 20
MAX_SCANNED = 96 << 20  # bytes of one segment

_HEADER = struct.Struct("<IHBB8Q")
_ENTRY = struct.Struct("<II")
_WORD = struct.Struct("<Q")
_POINTER = 8
_MOST_CANDIDATES = 64  # places where a magic, a name or a number stands by chance
_MOST_MATCHES = 1 << 16
_MIN_PC, _TEXT, _END_TEXT, _MODULE_WORDS = 20, 22, 23, 24  # runtime.moduledata, Go 1.18 to 1.27


class Span(Struct, frozen=True):
    """Of one function, counted from runtime.text."""

    begin: int
    end: int


class Table(Struct, frozen=True):
    """Where in `data` the parts of the table lie; `address` is the table's own."""

    data: bytes
    address: int
    count: int
    text: int  # 0 where the table does not say
    names: int
    names_end: int
    entries: int

    def span(self, name: bytes) -> Span | None:
        """The function of this name. Names of what was inlined everywhere lead nowhere."""
        for at in _places(self.data, b"\0" + name + b"\0", self.names - 1, self.names_end):
            if (found := self._named(at + 1 - self.names)) is not None:
                return found
        return None

    def ending(self, suffix: bytes) -> list[bytes]:
        """The names that end so, of functions or of what was inlined."""
        found = []
        for at in _places(self.data, suffix + b"\0", self.names, self.names_end):
            begin = self.data.rfind(b"\0", max(self.names - 1, at - 1024), at) + 1
            if begin:
                found.append(self.data[begin : at + len(suffix)])
        return found

    def _named(self, offset: int) -> Span | None:
        """A row is its entry and its name's offset; it is one only if an entry leads to it."""
        wanted, rows = struct.pack("<I", offset), self.entries + _ENTRY.size * self.count
        place = self.data.find(wanted, rows)
        for _ in range(_MOST_MATCHES):
            if place < 0:
                return None
            if (span := self._entry(place - 4)) is not None:
                return span
            place = self.data.find(wanted, place + 1)
        return None

    def _entry(self, row: int) -> Span | None:
        (begin,) = struct.unpack_from("<I", self.data, row)
        if row - self.entries >= 1 << 32:
            return None
        entry, end = _ENTRY.pack(begin, row - self.entries), self.entries + 8 * self.count
        place = self.data.find(entry, self.entries, end)
        if place < 0 or (place - self.entries) % _ENTRY.size:
            return None
        (after,) = struct.unpack_from("<I", self.data, place + _ENTRY.size)
        return Span(begin, after) if after > begin else None


def find(file: Elf) -> Table | str:
    """The file's table, or why there is none."""
    for name in SECTIONS:
        if section := file.sections.get(name):
            data = file.content(name)
            if data[:4] in map(_magic, OLD_MAGICS):
                return "built by Go 1.17 or older"
            table = _table(data, 0, section.address)
            return table or "its table of functions can't be read"
    for segment in file.segments:
        if (table := _scanned(file, segment)) is not None:
            return table
    return "it has no table of functions"


def text_candidates(file: Elf, table: Table) -> Iterator[int]:
    """What runtime.text may be, the surest first."""
    yield from _of_module(file, table)
    if table.text:
        yield table.text
    if (section := file.sections.get(b".text")) is not None:
        yield section.address


def _of_module(file: Elf, table: Table) -> Iterator[int]:
    """runtime.firstmoduledata begins with the table's address."""
    wanted = _WORD.pack(table.address)
    (first,) = struct.unpack_from("<I", table.data, table.entries)
    for segment in file.segments:
        if not segment.writable or segment.size > MAX_SCANNED:
            continue
        data = file.read(segment.offset, segment.size)
        for at in _places(data, wanted, 0, len(data)):
            words = data[at : at + _MODULE_WORDS * _POINTER]
            if at % _POINTER or len(words) < _MODULE_WORDS * _POINTER:
                continue
            fields = struct.unpack(f"<{_MODULE_WORDS}Q", words)
            text = fields[_TEXT]
            if text < fields[_END_TEXT] and fields[_MIN_PC] == text + first:
                yield text


def _scanned(file: Elf, segment: Segment) -> Table | None:
    if (segment.executable and segment.writable) or segment.size > MAX_SCANNED:
        return None
    data = file.read(segment.offset, segment.size)
    for magic in MAGICS:
        for at in _places(data, _magic(magic) + b"\0\0", 0, len(data)):
            if (table := _table(data, at, segment.address + at)) is not None:
                return table
    return None


def _magic(number: int) -> bytes:
    return struct.pack("<I", number)


def _table(data: bytes, at: int, address: int) -> Table | None:
    """What is at `at`, if its header is one."""
    if len(data) - at < _HEADER.size:
        return None
    magic, zero, quantum, pointer, count, files, text, names, units, *rest = _HEADER.unpack_from(
        data, at
    )
    paths, counters, entries = rest
    ascending = _HEADER.size <= names < units <= paths <= counters <= entries < len(data) - at
    if magic not in MAGICS or zero or quantum not in (1, 4) or pointer != _POINTER:
        return None
    whole = 0 < count <= MAX_FUNCTIONS and entries + 8 * count + 4 <= len(data) - at
    if not ascending or not whole or files > MAX_FUNCTIONS:
        return None
    return Table(data, address, count, text, at + names, at + units, at + entries)


def _places(data: bytes, wanted: bytes, begin: int, end: int) -> Iterator[int]:
    place = data.find(wanted, max(begin, 0), end)
    for _ in range(_MOST_CANDIDATES):
        if place < 0:
            return
        yield place
        place = data.find(wanted, place + 1, end)
