"""HPACK by hand: sizes, limits and malformed blocks. Whole stories are in test_hpack_corpus.py."""

from __future__ import annotations

import hpack as reference
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.parse import hpack, huffman

LIMIT = 10_000


def fields(table: hpack.Table, block: bytes) -> list[hpack.Field]:
    found = hpack.decode(table, block, LIMIT)
    assert found is not None
    return found.fields


def literal(name: bytes, value: bytes, kind: int = 0x40) -> bytes:
    return bytes((kind, len(name))) + name + bytes((len(value),)) + value


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xbf",  # an entry that is not there
        b"\xff",  # an integer that does not end
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # one that is too large
        b"\x40\x05ab",  # a string that does not end
        b"\x40\x81\xff\x01a",  # Huffman padding of eight bits
        b"\x40\x84\xff\xff\xff\xff\x01a",  # the end symbol inside a string
        b"\x40\x81\x18\x01a",  # Huffman padding that is not ones
        b"\x40",
    ],
    ids=range(9),
)
def test_a_malformed_block_is_told_and_the_table_forgotten(block):
    table = hpack.Table()
    assert fields(table, literal(b"a", b"1")) == [("a", "1")]
    assert hpack.decode(table, block, LIMIT) is None
    assert table.partial
    assert fields(table, b"\xbe") == [(None, None)]


def test_entries_are_evicted_by_size_and_newest_comes_first():
    table = hpack.Table(max_size=70)
    fields(table, literal(b"a", b"1") + literal(b"b", b"2"))
    assert fields(table, b"\xbe\xbf") == [("b", "2"), ("a", "1")]
    fields(table, literal(b"c", b"3"))
    assert [entry[0] for entry in table.entries] == ["b", "c"]
    fields(table, literal(b"d", b"4" * 60))
    assert table.entries == []


def test_a_size_update_evicts_and_one_of_zero_makes_a_partial_table_whole():
    table = hpack.Table(partial=True)
    fields(table, literal(b"a", b"1"))
    assert fields(table, b"\x20\x3f\x21") == []
    assert (table.partial, table.max_size, table.entries) == (False, 64, [])
    assert hpack.decode(table, b"\xbe", LIMIT) is None


def test_a_size_update_does_not_shift_a_partial_table():
    table = hpack.Table(partial=True)
    fields(table, literal(b"a", b"1") + literal(b"b", b"2"))
    assert fields(table, b"\x3f\x01\xbe\xbf\xc0") == [("b", "2"), ("a", "1"), (None, None)]


def test_a_value_under_an_unknown_name_is_unknown():
    table = hpack.Table(partial=True)
    assert fields(table, b"\x7e\x06secret") == [(None, None)]
    assert fields(table, b"\xbe") == [(None, None)]
    assert fields(table, b"\x0f\x30\x06secret") == [(None, None)]


def test_what_a_table_may_take_is_bounded_whatever_the_peers_agree_on():
    table = hpack.Table(max_size=1 << 30)
    value = b"x" * 10_000
    block = b"\x40\x01a\x7f" + bytes((0x91, 0x4D)) + value
    for _ in range(60):
        assert hpack.decode(table, block, 1 << 20) is not None
    assert table.partial
    assert table.size <= 256 * 1024


def test_values_are_utf8_or_else_latin1():
    block = literal(b"a", "é".encode()) + literal(b"b", b"\xe9")
    assert fields(hpack.Table(), block) == [("a", "é"), ("b", "é")]


def test_a_list_over_the_limit_is_cut_and_the_table_still_follows():
    table = hpack.Table()
    block = hpack.decode(table, literal(b"a", b"1") * 5, 100)
    assert block is not None
    assert (len(block.fields), block.size, block.too_large) == (2, 5 * 34, True)
    assert len(table.entries) == 5


HEADERS = st.lists(
    st.tuples(st.text("abc-", min_size=1, max_size=9), st.text(max_size=30)), max_size=8
)


@given(st.lists(HEADERS, max_size=6), st.booleans())
def test_what_the_reference_encodes_is_decoded(blocks, huffman_coded):
    encoder, table = reference.Encoder(), hpack.Table()
    for block in blocks:
        assert fields(table, encoder.encode(block, huffman=huffman_coded)) == block


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_as_the_reference_does_or_not_at_all(block):
    found = hpack.decode(hpack.Table(), block, LIMIT)
    decoder = reference.Decoder()
    decoder.max_allowed_table_size = 1 << 40
    try:
        expected = decoder.decode(block, raw=True)
    except (reference.HPACKError, UnicodeDecodeError):
        return
    if found is not None:
        assert found.fields == [(hpack.text(n), hpack.text(v)) for n, v in expected]


def test_strings_that_repeat_are_remembered_within_bounds():
    for number in range(5000):
        assert huffman.decode(reference.hpack.HuffmanEncoder(
            reference.huffman_constants.REQUEST_CODES,
            reference.huffman_constants.REQUEST_CODES_LENGTH,
        ).encode(str(number).encode())) == str(number).encode()  # fmt: skip
