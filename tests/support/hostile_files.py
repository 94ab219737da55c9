"""Files that a stranger may put where a TLS library is looked for: each asks for as much work as it
can. Content only; what is no regular file, tests make themselves."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

from tests.support.elf_file import Library, Section

MIB = 1 << 20
_JUMPS = b"\x0f\x84\xfa\xff\xff\xff"  # a conditional jump to itself


class Stuffed(Library):
    """A library some of whose sections are a stranger's."""

    def __init__(self, functions: dict[str, bytes], **stuffing: bytes) -> None:
        super().__init__(functions)
        self._stuffing = {f".{name}": content for name, content in stuffing.items()}

    def _sections(self) -> list[Section]:
        sections = super()._sections()
        for section in sections:
            section.content = self._stuffing.pop(section.name, section.content)
        more = [Section(name, 1, content) for name, content in self._stuffing.items()]
        self._stuffing = {section.name: section.content for section in more}
        return [*sections[:-1], *more, sections[-1]]


def _symbols(count: int) -> bytes:
    """Of which each may be SSL_read, but for what it is."""
    return struct.pack("<IBBHQQ", 1, 0x10, 0, 1, 0x1000, 64) * count


def _table(count: int) -> bytes:
    head = struct.pack("<4siI", b"\x01\x1b\x03\x3b", 0, count)
    return head + b"".join(struct.pack("<ii", n, n) for n in range(count))


def _sparse(path: Path, code: dict[str, bytes]) -> None:
    """A terabyte, with headers at its end."""
    content = bytearray(Library(code).content())
    struct.pack_into("<Q", content, 40, (1 << 40) - 64 * 10)
    path.write_bytes(content)
    os.truncate(path, 1 << 40)


def _counts(path: Path, code: dict[str, bytes]) -> None:
    content = bytearray(Library(code).content())
    struct.pack_into("<H", content, 60, 0xFFFF)
    path.write_bytes(content)


def _extended_counts(path: Path, code: dict[str, bytes]) -> None:
    """No count in the header: it is in the first section's size, which says four billion."""
    content = bytearray(Library(code).content())
    (sections,) = struct.unpack_from("<Q", content, 40)
    struct.pack_into("<H", content, 60, 0)
    struct.pack_into("<Q", content, sections + 32, 0xFFFFFFFF)
    path.write_bytes(content)


def _stuffed(**stuffing: bytes) -> Callable[[Path, dict[str, bytes]], None]:
    def make(path: Path, code: dict[str, bytes]) -> None:
        path.write_bytes(Stuffed(code, **stuffing).content())

    return make


def _code(body: bytes) -> Callable[[Path, dict[str, bytes]], None]:
    def make(path: Path, code: dict[str, bytes]) -> None:
        path.write_bytes(Library(dict.fromkeys(code, body)).content())

    return make


def _calls(count: int) -> bytes:
    """As many calls, each to another place."""
    return b"".join(b"\xe8" + struct.pack("<i", 16 * n) for n in range(count)) + b"\xc3"


KINDS: dict[str, Callable[[Path, dict[str, bytes]], None]] = {
    "a sparse terabyte": _sparse,
    "65535 sections": _counts,
    "four billion sections": _extended_counts,
    "two million symbols": _stuffed(dynsym=_symbols(2 * MIB), dynstr=b"\0SSL_read\0" * 64),
    "names of names": _stuffed(dynstr=b"\0" + b"SSL_read\0" * (6 * MIB)),
    "four million unwinding entries": _stuffed(eh_frame_hdr=_table(4 * MIB)),
    "a hundred megabytes of text": _stuffed(rodata=b"OpenSSL 3." * (11 * MIB)),
    "a hundred megabytes of blanks": _stuffed(rodata=b"OpenSSL 3.0.1" + b" " * (60 * MIB)),
    "go's own": _stuffed(
        gopclntab=struct.pack("<IBBBBQQ", 0xFFFFFFF1, 0, 0, 1, 8, 3 * MIB, 1) + bytes(60 * MIB)
    ),
    "jumps to themselves": _code(_JUMPS * 2700),
    "jumps onwards": _code(b"\x74\x01" * 8000 + b"\xc3"),
    "calls": _code(_calls(3200)),
    "no end": _code(b"\x90" * 16384),
}
