"""What is read from an ELF file; a broken one is refused. Not covered: real files (e2e)."""

from __future__ import annotations

import struct

import pytest

from services.discovery.code import elf
from services.discovery.code.elf import Elf, MalformedElf
from services.discovery.code.image import FileImage
from services.discovery.code.unwinding import Extents
from tests.support.elf_file import BASE, TEXT_AT, Library

CODE = {"SSL_read": b"\x53\x5b\xc3", "SSL_write": b"\x55\x5d\xc3", "helper": b"\x90\x90\xc3"}
LIBRARY = Library(CODE, hidden=frozenset({"helper"}))
CONTENT = LIBRARY.content()


def parsed(content: bytes = CONTENT) -> Elf:
    return elf.parse(lambda offset, size: content[offset : offset + size])


def with_field(content: bytes, at: int, layout: str, value: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(layout, changed, at, value)
    return bytes(changed)


def test_functions_are_found_by_name() -> None:
    found = elf.functions(parsed(), ("SSL_read", "SSL_write", "SSL_read_ex", "helper"))
    assert {name: symbol.address for name, symbol in found.items()} == {
        "SSL_read": LIBRARY.addresses["SSL_read"],
        "SSL_write": LIBRARY.addresses["SSL_write"],
    }
    assert found["SSL_read"].size == 3


def test_an_address_is_where_its_byte_is_in_the_file() -> None:
    assert parsed().file_offset(BASE + TEXT_AT) == TEXT_AT
    assert parsed().file_offset(BASE - 1) is None
    assert parsed().file_offset(1 << 40) is None


def test_the_build_id_and_the_names_of_libraries_are_read() -> None:
    assert elf.build_id(parsed()) == "c0ffee"
    names = elf.dynamic(parsed())
    assert (names.soname, names.needed) == ("libssl.so.3", ("libcrypto.so.3",))


def test_the_unwinder_knows_functions_without_a_symbol() -> None:
    start = LIBRARY.addresses["helper"]
    extents = Extents(parsed())
    assert extents.around(start) == extents.around(start + 2) == (start, start + 3)
    assert extents.around(start + 3) is None
    assert extents.around(BASE) is None


def test_a_file_without_the_unwinders_table_has_no_extents() -> None:
    stripped = CONTENT.replace(b".eh_frame_hdr", b".xx_frame_hdr")
    assert Extents(parsed(stripped)).around(LIBRARY.addresses["helper"]) is None


def test_an_image_gives_whole_functions() -> None:
    image = FileImage(parsed(), frozenset({"SSL_read", "SSL_peek"}))
    read, hidden = image.named("SSL_read"), image.begins_at(LIBRARY.addresses["helper"])
    assert read is not None
    assert hidden is not None
    assert (read.code, hidden.code) == (CODE["SSL_read"], CODE["helper"])
    assert image.named("SSL_peek") is None
    assert image.begins_at(LIBRARY.addresses["helper"] + 1) is None
    assert image.offset(read.address) == TEXT_AT
    with pytest.raises(MalformedElf):
        image.offset(1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "no ELF header", id="empty"),
        pytest.param(b"#!/bin/sh\n" + bytes(100), "no ELF header", id="script"),
        pytest.param(CONTENT[:40], "no ELF header", id="cut"),
        pytest.param(with_field(CONTENT, 4, "B", 1), "64-bit", id="32-bit"),
        pytest.param(with_field(CONTENT, 5, "B", 2), "little-endian", id="big-endian"),
        pytest.param(with_field(CONTENT, 56, "<H", 0xFFFF), "more headers", id="segments"),
        pytest.param(with_field(CONTENT, 60, "<H", 0xFFFF), "more headers", id="sections"),
        pytest.param(with_field(CONTENT, 54, "<H", 1), "cut short", id="segment-size"),
        pytest.param(with_field(CONTENT, 40, "<Q", 1 << 40), "cut short", id="sections-away"),
    ],
)
def test_a_broken_file_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(MalformedElf, match=reason):
        parsed(content)


def test_a_file_without_sections_has_no_functions() -> None:
    assert elf.functions(parsed(with_field(CONTENT, 60, "<H", 0)), ("SSL_read",)) == {}


def test_a_huge_table_is_refused_before_it_is_read() -> None:
    sections = struct.unpack_from("<Q", CONTENT, 40)[0]
    sizes_at = [sections + 64 * n + 32 for n in range(10)]
    content = CONTENT
    for at in sizes_at[:-1]:
        content = with_field(content, at, "<Q", 1 << 40)
    with pytest.raises(MalformedElf, match="64 MiB"):
        elf.functions(parsed(content), ("SSL_read",))
