"""Content codings: what is undone, what stays, and what a bomb may cost."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
from backports import zstd

from services.inflate import Inflated, Limits, codings, inflate

TEXT = b'{"name": "apple"}' * 40
LIMITS = Limits()


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate, raw": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("coding", ENCODERS)
def test_a_coding_is_undone(coding: str) -> None:
    applied = (coding.partition(",")[0],)
    assert inflate(ENCODERS[coding](TEXT), applied, LIMITS) == Inflated(data=TEXT)


def test_stacked_codings_are_undone_in_reverse_order() -> None:
    data = gzip.compress(zlib.compress(TEXT))
    assert inflate(data, codings("deflate, GZip"), LIMITS) == Inflated(data=TEXT)
    assert inflate(data, codings("gzip, deflate"), LIMITS) is None


def test_identity_is_no_coding() -> None:
    assert codings(" identity ,gzip, ") == ("gzip",)
    assert inflate(TEXT, codings("identity"), LIMITS) == Inflated(data=TEXT)


@pytest.mark.parametrize("applied", [("compress",), ("gzip", "dcb"), ("gzip",) * 5])
def test_what_is_unknown_or_absurd_stays(applied: tuple[str, ...]) -> None:
    assert inflate(gzip.compress(TEXT), applied, LIMITS) is None


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_what_breaks_its_coding_stays(coding: str) -> None:
    assert inflate(b"\xff" + TEXT, (coding,), LIMITS) is None


def test_a_broken_checksum_is_broken() -> None:
    data = bytearray(gzip.compress(TEXT))
    data[-8] ^= 1
    assert inflate(bytes(data), ("gzip",), LIMITS) is None


def test_all_members_of_a_gzip_are_undone_and_what_follows_is_not() -> None:
    members = gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two")
    assert inflate(members, ("gzip",), LIMITS) == Inflated(data=b"one two")
    assert inflate(members + b"\0\0garbage", ("gzip",), LIMITS) == Inflated(data=b"one two")


def test_input_that_ends_early_gives_what_can_be_decoded() -> None:
    data = gzip.compress(bytes(range(256)) * 100, compresslevel=1)
    found = inflate(data[: len(data) // 2], ("gzip",), LIMITS)
    assert found is not None
    assert found.cut is None
    assert 0 < len(found.data) < 25_600
    assert (bytes(range(256)) * 100).startswith(found.data)


def test_no_input_is_no_output() -> None:
    assert inflate(b"", ("gzip",), LIMITS) == Inflated(data=b"")
    assert inflate(b"", ("deflate",), LIMITS) == Inflated(data=b"")


@pytest.mark.parametrize("size", [LIMITS.output, LIMITS.output + 1])
def test_output_ends_at_its_limit(size: int) -> None:
    found = inflate(gzip.compress(b"x" * size), ("gzip",), LIMITS)
    assert found is not None
    assert len(found.data) == LIMITS.output
    assert found.cut == (None if size == LIMITS.output else "output")


def test_what_promises_too_much_from_too_little_is_a_bomb() -> None:
    bomb = gzip.compress(bytes(20 << 20))
    found = inflate(bomb, ("gzip",), LIMITS)
    assert found is not None
    assert (len(found.data), found.cut) == (LIMITS.output, "bomb")
    nested = inflate(gzip.compress(bomb), ("gzip", "gzip"), LIMITS)
    assert nested is not None
    assert (len(nested.data), nested.cut) == (LIMITS.output, "bomb")


@pytest.mark.parametrize("coding", ["br", "zstd"])
@pytest.mark.parametrize("size", [LIMITS.output, LIMITS.output + 1, 1 << 20])
def test_what_stands_for_more_than_the_limit_is_counted_and_cut(coding: str, size: int) -> None:
    found = inflate(ENCODERS[coding](b"x" * size), (coding,), LIMITS)
    assert found is not None
    assert len(found.data) == LIMITS.output
    assert found.cut == (None if size == LIMITS.output else "output")


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_few_bytes_that_stand_for_too_many_are_a_bomb(coding: str) -> None:
    found = inflate(ENCODERS[coding](bytes(20 << 20)), (coding,), LIMITS)
    assert found is not None
    assert (len(found.data), found.cut) == (LIMITS.output, "bomb")


def test_all_frames_of_a_zstd_are_undone_and_what_follows_is_not() -> None:
    skippable = b"\x5a\x2a\x4d\x18\x03\0\0\0abc"
    frames = zstd.compress(b"one ") + skippable + zstd.compress(b"two")
    assert inflate(frames, ("zstd",), LIMITS) == Inflated(data=b"one two")
    assert inflate(frames + b"garbage", ("zstd",), LIMITS) == Inflated(data=b"one two")


def test_a_window_larger_than_http_allows_is_refused() -> None:
    large = {zstd.CompressionParameter.window_log: 24}
    stream = zstd.ZstdCompressor(options=large)
    data = stream.compress(TEXT, zstd.ZstdCompressor.FLUSH_BLOCK)
    assert inflate(data, ("zstd",), LIMITS) is None


def test_neither_says_its_bytes() -> None:
    assert repr(Inflated(data=b"secret")) == "Inflated(6 bytes, cut=None)"
