"""Go's table of functions: names to places, and tables that lie."""

from __future__ import annotations

import struct

from services.discovery.code import elf, pclntab
from services.discovery.code.elf import Elf
from services.discovery.code.pclntab import Span, Table
from tests.support import go_file
from tests.support.go_file import GoFile

READ = b"crypto/tls.(*Conn).Read"


def parsed(data: bytes) -> Elf:
    return elf.parse(lambda offset, size: data[offset : offset + size])


def table(made: GoFile) -> Table:
    found = pclntab.find(parsed(made.content()))
    assert isinstance(found, Table)
    return found


def test_a_function_spans_what_the_next_one_leaves() -> None:
    made = GoFile({"a.b": b"\x90" * 10, "a.c": b"\x90" * 40, "a.d": b"\xc3"})
    found = table(made)
    assert [found.span(name) for name in (b"a.b", b"a.c", b"a.d")] == [
        Span(0, 32), Span(32, 96), Span(96, 97),
    ]  # fmt: skip


def test_a_name_is_found_whole_only() -> None:
    found = table(GoFile({"a.bc": b"\x90", "a.b": b"\xc3"}))
    assert found.span(b"a.b") == Span(32, 33)
    assert found.span(b"a") is None
    assert found.span(b".b") is None


def test_names_by_their_end() -> None:
    found = table(GoFile({"x/tls.(*Conn).Read": b"\x90", "tls.(*Conn).Reader": b"\x90"}))
    assert found.ending(b"tls.(*Conn).Read") == [b"x/tls.(*Conn).Read"]


def test_a_name_that_no_entry_leads_to_is_no_function() -> None:
    """As of what the compiler inlined wherever it is called."""
    made = GoFile({"a.b": b"\x90", "a.c": b"\xc3"})
    data = bytearray(made.content())
    at = data.index(struct.pack("<II", 32, 0))  # of the row of a.c, no longer entered
    data[at : at + 4] = struct.pack("<I", 33)
    found = pclntab.find(parsed(bytes(data)))
    assert isinstance(found, Table)
    assert found.span(b"a.b") is not None


def test_a_table_whose_parts_lie_outside_of_it_is_none() -> None:
    made = go_file.of_version("go1.27.3")
    data = made.content()
    at = data.index(struct.pack("<IHBB", 0xFFFFFFF1, 0, 1, 8))
    for word in range(3, 8):
        broken = bytearray(data)
        struct.pack_into("<Q", broken, at + 8 + 8 * word, 1 << 40)
        assert isinstance(pclntab.find(parsed(bytes(broken))), str)
    for count in (0, 1 << 31, (1 << 64) - 1):
        broken = bytearray(data)
        struct.pack_into("<Q", broken, at + 8, count)
        assert isinstance(pclntab.find(parsed(bytes(broken))), str)


def test_the_module_s_word_for_where_the_code_begins_comes_first() -> None:
    made = go_file.of_version("go1.21.13", before_text=0x100)
    file = parsed(made.content())
    found = table(made)
    begin = go_file.BASE + 0x1000
    assert list(pclntab.text_candidates(file, found)) == [begin + 0x100, begin]
    made = go_file.of_version("go1.21.13", text_in_table=True, module=False)
    assert list(pclntab.text_candidates(parsed(made.content()), table(made))) == [begin, begin]
