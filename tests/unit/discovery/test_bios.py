"""Libcrypto's writers into memory, found through the tables that two of its calls return."""

from __future__ import annotations

import struct

import pytest

from services.discovery.code import bios, sites
from services.discovery.code.disassembly import Body
from services.discovery.code.elf import AARCH64, X86_64
from tests.support.functions import RecordedImage

MEMORY, PAIR = 0x9000, 0x9100  # the tables
CONVERTER, INTO_MEMORY, INTO_PAIR = 0x100, 0x200, 0x300
PUSH_RET = b"\x53\x5b\xc3"
ENDBR64 = b"\xf3\x0f\x1e\xfa"


def returning(address: int, table: int, before: bytes = b"") -> bytes:
    """lea table(%rip), %rax; ret"""
    distance = table - (address + len(before) + 7)
    return before + b"\x48\x8d\x05" + struct.pack("<i", distance) + b"\xc3"


class Image(RecordedImage):
    def __init__(self, tables: dict[int, int], machine: int = X86_64, before: bytes = b"") -> None:
        named = {
            "BIO_write": Body("BIO_write", 0x400, PUSH_RET),
            "BIO_s_mem": Body("BIO_s_mem", 0x500, returning(0x500, MEMORY, before)),
            "BIO_s_bio": Body("BIO_s_bio", 0x600, returning(0x600, PAIR, before)),
        }
        parts = [Body(hex(at), at, PUSH_RET) for at in (CONVERTER, INTO_MEMORY, INTO_PAIR)]
        super().__init__(machine, named, parts)
        self._tables = tables

    def pointers(self, places: frozenset[int]) -> dict[int, int]:
        return {at: to for at, to in self._tables.items() if at in places}


CONVERTED = {
    MEMORY + 16: CONVERTER, MEMORY + 24: INTO_MEMORY, PAIR + 16: CONVERTER, PAIR + 24: INTO_PAIR
}  # fmt: skip
DIRECT = {MEMORY + 16: INTO_MEMORY, PAIR + 16: INTO_PAIR}


@pytest.mark.parametrize("tables", [CONVERTED, DIRECT], ids=["converted", "direct"])
@pytest.mark.parametrize("before", [b"", ENDBR64], ids=["", "endbr64"])
def test_the_writers_are_those_that_are_no_converter(tables: dict[int, int], before: bytes) -> None:
    found = [(name, body.address) for name, body in bios.writers(Image(tables, before=before))]
    assert found == [("BIO_s_mem -> write", INTO_MEMORY), ("BIO_s_bio -> write", INTO_PAIR)]


def test_only_writes_into_memory_are_probed_where_they_are_known() -> None:
    assert [site.address for site in sites.choose(Image(CONVERTED)).sites] == [
        INTO_MEMORY,
        INTO_PAIR,
    ]


@pytest.mark.parametrize(
    ("tables", "machine"),
    [({}, X86_64), ({MEMORY + 24: INTO_MEMORY}, X86_64), (CONVERTED, AARCH64)],
    ids=["no tables", "half a table", "another machine"],
)
def test_else_every_write_is(tables: dict[int, int], machine: int) -> None:
    chosen = sites.choose(Image(tables, machine))
    assert [site.function for site in chosen.sites] == ["BIO_write"]
    assert {site.operation for site in chosen.sites} == {"cipher"}


def test_a_pointer_into_a_function_is_not_taken_for_one() -> None:
    assert bios.writers(Image(CONVERTED | {PAIR + 24: INTO_PAIR + 1})) == []
