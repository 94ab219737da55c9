"""What an ELF file says about itself: segments, sections, symbols, build id, libraries.

Reads through a function `read(offset, size)` and opens nothing. Files are hostile: every count and
size has a limit, everything is checked before it is used, and `MalformedElf` is the one error.
Knows 64-bit little-endian files only; nothing about TLS or machine code.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

Read = Callable[[int, int], bytes]

X86_64: Final = 62
AARCH64: Final = 183

_RELATIVE = {X86_64: 8, AARCH64: 1027}

MAX_SEGMENTS = 512
MAX_SECTIONS = 4096
MAX_TABLE = 64 << 20  # bytes of one symbol or string table
MAX_STUBS = 1 << 20  # bytes of a table of stubs, or of its relocations
MAX_FUNCTION = 16 << 10
MAX_NAME = 256
MAX_PATHS = 16 << 10

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_DYNAMIC = struct.Struct("<qQ")
_NOTE = struct.Struct("<III")

_PT_LOAD = 1
_PF_X, _PF_W = 1, 2
_SHT_DYNAMIC, _SHT_NOTE, _SHT_NOBITS = 6, 7, 8
_SYMBOL_TABLES = {b".dynsym": b".dynstr", b".symtab": b".strtab"}
_STT_FUNC, _STT_GNU_IFUNC = 2, 10
_NT_GNU_BUILD_ID = 3
_DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 14, 15, 29
_NAMED_TAGS = {  # and the longest text of each
    _DT_NEEDED: MAX_NAME, _DT_SONAME: MAX_NAME, _DT_RPATH: MAX_PATHS, _DT_RUNPATH: MAX_PATHS
}  # fmt: skip


class MalformedElf(ValueError):
    """No ELF file that can be read: the text says which part, never quotes the bytes."""


class Segment(Struct, frozen=True):
    address: int
    offset: int
    size: int  # bytes in the file
    executable: bool
    writable: bool = False


class Section(Struct, frozen=True):
    kind: int
    address: int
    offset: int
    size: int


class Symbol(Struct, frozen=True):
    name: str
    address: int
    size: int  # 0 where the file doesn't say


class Dynamic(Struct, frozen=True, kw_only=True):
    """What a file tells the dynamic linker: its own name, the libraries that it needs, and where
    they are looked for, as the file has it: colons between directories, $ORIGIN for its own."""

    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: str = ""
    runpath: str = ""


class Elf(Struct, frozen=True):
    read: Read
    machine: int
    segments: tuple[Segment, ...]
    sections: dict[bytes, Section]

    def file_offset(self, address: int) -> int | None:
        """Of the executable byte at this virtual address."""
        for s in self.segments:
            if s.executable and s.address <= address < s.address + s.size:
                return address - s.address + s.offset
        return None

    def code(self, start: int, end: int) -> bytes:
        """At most MAX_FUNCTION bytes of code between two virtual addresses of one segment."""
        size = min(end - start, MAX_FUNCTION)
        offset = self.file_offset(start)
        if offset is None or size <= 0:
            return b""
        return self.read(offset, size)

    def constant(self, address: int, size: int) -> bytes:
        """Of the section that nothing writes; empty where these bytes are not all in it."""
        section = self.sections.get(b".rodata")
        if section is None or size > MAX_FUNCTION:
            return b""
        at = address - section.address
        whole = section.kind != _SHT_NOBITS and 0 <= at <= section.size - size
        return self.read(section.offset + at, size) if whole else b""

    def content(self, name: bytes, most: int = MAX_TABLE) -> bytes:
        """Empty where the file has no such section, or one of more than `most` bytes."""
        section = self.sections.get(name)
        if section is None or section.kind == _SHT_NOBITS or MAX_TABLE >= section.size > most:
            return b""
        if section.size > MAX_TABLE:
            raise MalformedElf("a table of more than 64 MiB")
        return self.read(section.offset, section.size)


def parse(read: Read) -> Elf:
    raw = read(0, _HEADER.size)
    if len(raw) < _HEADER.size or raw[:4] != b"\x7fELF":
        raise MalformedElf("no ELF header")
    if raw[4] != 2 or raw[5] != 1:
        raise MalformedElf("not a 64-bit little-endian file")
    fields = _HEADER.unpack(raw)
    machine, segments_at, sections_at = fields[2], fields[5], fields[6]
    segment_size, segment_count, section_size, section_count, names_index = fields[9:14]
    if segment_count > MAX_SEGMENTS or section_count > MAX_SECTIONS:
        raise MalformedElf("more headers than a real file has")
    return Elf(
        read=read,
        machine=machine,
        segments=_segments(read, segments_at, segment_size, segment_count),
        sections=_sections(read, (sections_at, section_size, section_count), names_index),
    )


def _rows(read: Read, layout: struct.Struct, at: tuple[int, int, int]) -> list[tuple[int, ...]]:
    offset, size, count = at
    if count == 0:
        return []
    raw = read(offset, size * count)
    if size != layout.size or len(raw) < size * count:
        raise MalformedElf("headers cut short")
    return list(layout.iter_unpack(raw))


def _segments(read: Read, offset: int, size: int, count: int) -> tuple[Segment, ...]:
    return tuple(
        Segment(address, at, length, bool(flags & _PF_X), bool(flags & _PF_W))
        for kind, flags, at, address, _, length, *_ in _rows(read, _SEGMENT, (offset, size, count))
        if kind == _PT_LOAD
    )


def _sections(read: Read, at: tuple[int, int, int], names_index: int) -> dict[bytes, Section]:
    rows = _rows(read, _SECTION, at)
    if names_index >= len(rows):
        return {}
    names = read(rows[names_index][4], min(rows[names_index][5], MAX_SECTIONS * MAX_NAME))
    return {
        _text(names, name): Section(kind, address, offset, size)
        for name, kind, _, address, offset, size, *_ in reversed(rows)
    }


def _text(table: bytes, at: int, longest: int = MAX_NAME) -> bytes:
    end = table.find(b"\0", at, at + longest) if at < len(table) else -1
    return table[at:end] if end >= 0 else b""


def functions(elf: Elf, wanted: Iterable[str]) -> dict[str, Symbol]:
    """The functions of these names that the file defines; .dynsym first, as it survives `strip`."""
    missing = {name.encode() for name in wanted}
    found: dict[str, Symbol] = {}
    for table, strings in _SYMBOL_TABLES.items():
        if not missing or table not in elf.sections:
            continue
        for symbol in _defined(elf.content(table), elf.content(strings), missing):
            found.setdefault(symbol.name, symbol)
            missing.discard(symbol.name.encode())
    return found


def _defined(table: bytes, strings: bytes, wanted: set[bytes]) -> list[Symbol]:
    at = _places(strings, wanted)
    whole = memoryview(table)[: len(table) - len(table) % _SYMBOL.size]
    return [
        Symbol(at[name], address, size)
        for name, info, _, section, address, size in _SYMBOL.iter_unpack(whole)
        if name in at and section and info & 15 in (_STT_FUNC, _STT_GNU_IFUNC) and address
    ]


def _places(strings: bytes, wanted: set[bytes]) -> dict[int, str]:
    """Where in a string table the names stand; a linker may let one be the tail of another."""
    at: dict[int, str] = {}
    for name in wanted:
        place = strings.find(name + b"\0")
        while place >= 0 and len(at) < MAX_SECTIONS:
            at[place] = name.decode()
            place = strings.find(name + b"\0", place + 1)
    return at


def jump_slots(elf: Elf, wanted: Iterable[str]) -> dict[int, str]:
    """By the slot of the linker's table, the function of this file whose address it will hold."""
    names = {name.encode() for name in wanted}
    relocations = elf.content(b".rela.plt", MAX_STUBS)
    at = _places(elf.content(b".dynstr"), names) if relocations else {}
    table = elf.content(b".dynsym") if at else b""
    rows = memoryview(table)[: len(table) - len(table) % _SYMBOL.size]
    symbols = {n: at[row[0]] for n, row in enumerate(_SYMBOL.iter_unpack(rows)) if row[0] in at}
    whole = relocations[: len(relocations) - len(relocations) % _RELOCATION.size]
    return {
        slot: symbols[info >> 32]
        for slot, info, _ in _RELOCATION.iter_unpack(whole)
        if info >> 32 in symbols
    }


def pointers(elf: Elf, places: frozenset[int]) -> dict[int, int]:
    """What the linker will have put at these addresses, where it is an address of this file."""
    relocations = elf.content(b".rela.dyn")
    whole = relocations[: len(relocations) - len(relocations) % _RELOCATION.size]
    relative = _RELATIVE.get(elf.machine)
    return {
        place: target
        for place, kind, target in _RELOCATION.iter_unpack(whole)
        if place in places and kind == relative
    }


def build_id(elf: Elf) -> str:
    for name in (b".note.gnu.build-id", b".note"):
        section = elf.sections.get(name)
        if section is None or section.kind != _SHT_NOTE:
            continue
        note = elf.read(section.offset, min(section.size, MAX_NAME))
        if len(note) < _NOTE.size:
            continue
        owner, size, kind = _NOTE.unpack_from(note)
        start = _NOTE.size + (owner + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and 0 < size <= 64 and start + size <= len(note):
            return note[start : start + size].hex()
    return ""


def dynamic(elf: Elf) -> Dynamic:
    section = elf.sections.get(b".dynamic")
    if section is None or section.kind != _SHT_DYNAMIC:
        return Dynamic()
    raw = elf.read(section.offset, min(section.size, MAX_SECTIONS * _DYNAMIC.size))
    strings = elf.content(b".dynstr")
    found: dict[int, list[str]] = {}
    for tag, value in _DYNAMIC.iter_unpack(raw[: len(raw) - len(raw) % _DYNAMIC.size]):
        if tag in _NAMED_TAGS:
            text = _text(strings, value, _NAMED_TAGS[tag])
            found.setdefault(tag, []).append(text.decode(errors="surrogateescape"))
    return Dynamic(
        soname=found.get(_DT_SONAME, [""])[-1],
        needed=tuple(found.get(_DT_NEEDED, ())),
        rpath=found.get(_DT_RPATH, [""])[-1],
        runpath=found.get(_DT_RUNPATH, [""])[-1],
    )
