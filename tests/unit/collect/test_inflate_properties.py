"""What holds for any data, cut anywhere: a prefix within the limit comes out, nothing raises."""

from __future__ import annotations

import gzip
import zlib

import brotli
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from services.inflate import Limits, inflate

LIMITS = Limits(output=300)
KNOWN = ("gzip", "deflate", "br", "zstd")
ENCODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}
texts = st.one_of(st.binary(max_size=1000), st.integers(0, 2000).map(lambda n: b"ab" * n))


@given(texts, st.lists(st.sampled_from(KNOWN), max_size=3), st.integers(0, 3000))
def test_a_cut_anywhere_gives_a_prefix(data: bytes, applied: list[str], cut: int) -> None:
    encoded = data
    for coding in applied:
        encoded = ENCODERS[coding](encoded)
    found = inflate(encoded[:cut], tuple(applied), LIMITS)
    assert found is not None
    assert data.startswith(found.data)
    assert not applied or len(found.data) <= LIMITS.output
    if cut >= len(encoded) and len(applied) == 1:
        assert found.data == data[: LIMITS.output]
        assert (found.cut is None) == (len(data) <= LIMITS.output)


@given(st.binary(max_size=400), st.lists(st.sampled_from((*KNOWN, "compress", "")), max_size=4))
def test_any_bytes_give_bytes_or_none(data: bytes, applied: list[str]) -> None:
    found = inflate(data, tuple(applied), LIMITS)
    assert found is None or not applied or len(found.data) <= max(LIMITS.output, len(data))
