"""Makes small ELF files: a shared library with the functions that a test wants in it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

TEXT_AT = 0x400  # in the file
BASE = 0x1000  # what addresses are above file offsets
_FDE = 24


@dataclass
class Section:
    name: str
    kind: int
    content: bytes
    offset: int = 0

    @property
    def address(self) -> int:
        return BASE + self.offset


class Strings:
    def __init__(self) -> None:
        self.content = bytearray(b"\0")

    def add(self, text: str) -> int:
        at = len(self.content)
        self.content += text.encode() + b"\0"
        return at


@dataclass
class Library:
    """`functions`: name to code; `hidden` ones have no symbol. All are in the unwinder's table."""

    functions: dict[str, bytes]
    hidden: frozenset[str] = frozenset()
    build_id: str = "c0ffee"
    soname: str = "libssl.so.3"
    needed: tuple[str, ...] = ("libcrypto.so.3",)
    read_only: bytes = b"\0OpenSSL 3.0.99 1 Jan 2026\0"
    machine: int = 62

    def __post_init__(self) -> None:
        self.addresses: dict[str, int] = {}
        self.code = b""
        for name, code in self.functions.items():
            self.addresses[name] = BASE + TEXT_AT + len(self.code)
            self.code += code + b"\xcc" * (-len(code) % 16)

    def content(self) -> bytes:
        sections, names = self._sections(), Strings()
        rows = [names.add(section.name) for section in sections]
        sections[-1].content = bytes(names.content)
        file = bytearray(TEXT_AT)
        for section in sections[1:]:
            section.offset = len(file)
            if section.name == ".eh_frame":
                section.content = self._frames(section.address)
            if section.name == ".eh_frame_hdr":
                section.content = self._table(section.address, sections)
            file += section.content + bytes(-len(section.content) % 8)
        head = self._head(len(file), len(sections))
        file[: len(head)] = head
        return bytes(file) + b"".join(map(_section_row, rows, sections))

    def _sections(self) -> list[Section]:
        build_id = bytes.fromhex(self.build_id)
        note = struct.pack("<III4s", 4, len(build_id), 3, b"GNU") + build_id
        symbols, dynamic, strings = self._tables()
        return [
            Section("", 0, b""),
            Section(".text", 1, self.code),
            Section(".note.gnu.build-id", 7, note),
            Section(".dynsym", 11, symbols),
            Section(".dynstr", 3, strings),
            Section(".dynamic", 6, dynamic),
            Section(".rodata", 1, self.read_only),
            Section(".eh_frame", 1, b""),
            Section(".eh_frame_hdr", 1, b""),
            Section(".shstrtab", 3, b""),
        ]

    def _tables(self) -> tuple[bytes, bytes, bytes]:
        strings = Strings()
        symbols = bytes(24) + b"".join(
            struct.pack("<IBBHQQ", strings.add(name), 0x12, 0, 1, self.addresses[name], len(code))
            for name, code in self.functions.items()
            if name not in self.hidden
        )
        entries = [(1, strings.add(name)) for name in self.needed]
        entries.append((14, strings.add(self.soname)))
        dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
        return symbols, dynamic, bytes(strings.content)

    def _frames(self, address: int) -> bytes:
        content = bytes(_FDE)
        for name, code in self.functions.items():
            begin = self.addresses[name] - (address + len(content) + 8)
            content += struct.pack("<IIiI8x", _FDE - 4, len(content) + 4, begin, len(code))
        return content

    def _table(self, address: int, sections: list[Section]) -> bytes:
        frames = next(s.address for s in sections if s.name == ".eh_frame")
        rows = sorted(
            (self.addresses[name] - address, frames + _FDE * (n + 1) - address)
            for n, name in enumerate(self.functions)
        )
        head = struct.pack("<4siI", b"\x01\x1b\x03\x3b", frames - address - 4, len(rows))
        return head + b"".join(struct.pack("<ii", *row) for row in rows)

    def _head(self, size: int, count: int) -> bytes:
        ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        head = struct.pack("<16sHHIQQQI", ident, 3, self.machine, 1, 0, 64, size, 0)
        head += struct.pack("<6H", 64, 56, 1, 64, count, count - 1)
        return head + struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 4096)


def _section_row(name: int, s: Section) -> bytes:
    return struct.pack(
        "<IIQQQQIIQQ", name, s.kind, 0, s.address, s.offset, len(s.content), 0, 0, 8, 0
    )
