"""Content codings undone piece by piece, from plain data, in bounded memory.

Not here: whole bodies (test_inflate), what is shown of them (test_parting_properties).
"""

from __future__ import annotations

import gzip
import random
import zlib

import brotli
import msgspec
import pytest

from services.collect.unpacking import Limits, Unpacked, Unpacking, lose, unpack

LIMITS = Limits(coded=4096, output=64 * 1024)


def flushed(wbits: int, pieces: list[bytes], mode: int = zlib.Z_SYNC_FLUSH) -> list[bytes]:
    stream = zlib.compressobj(wbits=wbits)
    out = [stream.compress(piece) + stream.flush(mode) for piece in pieces]
    return [*out, stream.flush()]


def followed(state: Unpacking, pieces: list[bytes]) -> list[bytes]:
    """Each piece by a state that was written down and read back."""
    out = []
    for piece in pieces:
        kept = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=Unpacking)
        out.append(unpack(state, piece, LIMITS).data)
        assert unpack(kept, piece, LIMITS).data == out[-1]
        assert kept == state
    return out


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize(
    ("coding", "wbits"), [("gzip", 31), ("x-gzip", 31), ("deflate", 15), ("deflate", -15)]
)
@pytest.mark.parametrize("mode", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH])
def test_what_was_flushed_comes_out_at_once(coding: str, wbits: int, mode: int) -> None:
    pieces = [b"data: %d and the same again\n\n" % n for n in range(100)]
    assert followed(Unpacking((coding,)), flushed(wbits, pieces, mode)) == [*pieces, b""]


def test_a_stream_that_flushes_needs_no_more_memory_than_its_window() -> None:
    state = Unpacking(("gzip",))
    for piece in flushed(31, [noise(3000)] * 200):
        unpack(state, piece, LIMITS)
        assert len(state.coded) < 100
        assert len(state.window) <= 32 * 1024
    assert state.lost is None


def test_a_stream_that_does_not_flush_is_given_up_at_the_limit() -> None:
    state = Unpacking(("gzip",))
    coded = gzip.compress(noise(20_000))
    out = [unpack(state, coded[n : n + 1000], LIMITS).data for n in range(0, 8000, 1000)]
    assert b"".join(out) == noise(20_000)[: len(b"".join(out))]
    assert len(b"".join(out)) > 3000
    assert (state.lost, state.coded, state.window) == ("cap", b"", b"")
    assert unpack(state, coded[8000:], LIMITS) == Unpacked(b"")


def test_bytes_that_look_like_a_flush_are_none() -> None:
    pieces = [noise(50) + b"\x00\x00\xff\xff" * 5 + noise(50), b"\x00\x00\xff\xff", b"end"]
    stored = zlib.compressobj(level=0, wbits=31)
    coded = b"".join(stored.compress(p) for p in pieces) + stored.flush()
    for cut in range(len(coded)):
        state = Unpacking(("gzip",))
        out = unpack(state, coded[:cut], LIMITS).data + unpack(state, coded[cut:], LIMITS).data
        assert out == b"".join(pieces)


def test_a_header_with_every_field_is_passed_over_wherever_it_is_cut() -> None:
    header = (
        b"\x1f\x8b\x08\x1e\0\0\0\0\0\x03" + b"\x04\0xtra" + b"name\0" + b"comment\0" + b"\x12\x34"
    )
    body = zlib.compressobj(wbits=-15)
    coded = header + body.compress(b"hello") + body.flush() + bytes(8)
    for cut in range(len(coded)):
        state = Unpacking(("gzip",))
        out = unpack(state, coded[:cut], LIMITS).data + unpack(state, coded[cut:], LIMITS).data
        assert out == b"hello"


def test_members_follow_one_another_and_what_is_none_is_ignored() -> None:
    pieces = [gzip.compress(b"one "), gzip.compress(b"two"), b"garbage", b"more"]
    assert followed(Unpacking(("gzip",)), pieces) == [b"one ", b"two", b"", b""]


def test_what_is_not_coded_at_all_is_given_back() -> None:
    state = Unpacking(("gzip",))
    assert unpack(state, b"\x1f", LIMITS) == Unpacked(b"")
    assert unpack(state, b"plain", LIMITS) == Unpacked(b"\x1fplain", raw=True)


def test_what_breaks_later_is_given_up() -> None:
    state = Unpacking(("gzip",))
    first, *_ = flushed(31, [b"one", b"two"])
    assert unpack(state, first, LIMITS).data == b"one"
    assert unpack(state, b"\xff" * 20, LIMITS) == Unpacked(b"")
    assert state.lost == "coding"


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_few_bytes_that_stand_for_too_many_are_cut(coding: str) -> None:
    encode = {"gzip": gzip.compress, "br": brotli.compress}[coding]
    state = Unpacking((coding,))
    assert len(unpack(state, encode(bytes(20 << 20)), LIMITS).data) == LIMITS.output
    assert state.lost == "bomb"


def test_a_coding_without_flush_points_is_followed_from_its_beginning() -> None:
    coded = brotli.compress(noise(2000))
    out = followed(Unpacking(("br",)), [coded[:700], coded[700:1500], coded[1500:]])
    assert b"".join(out) == noise(2000)


def test_once_lost_nothing_comes() -> None:
    state = Unpacking(("gzip",))
    lose(state, "gap")
    assert unpack(state, gzip.compress(b"x"), LIMITS) == Unpacked(b"")


def test_neither_says_its_bytes() -> None:
    assert "s3cret" not in repr(Unpacking(("gzip",), coded=b"s3cret", window=b"s3cret"))
