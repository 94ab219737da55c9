"""What is shown of a body: text or base64, decoded, cut, with exact sizes."""

from __future__ import annotations

import base64
import gzip

import pytest

from services.messages import Body, Headers
from tests.unit.collect.transcript import (
    body,
    end,
    fold,
    gap,
    only,
    opened,
    request,
    response_head,
    shard,
)

CAP = 32


def shown(data: bytes, *coding: str, cut_at: int | None = None, **limits: int) -> Body:
    """The response's body; `cut_at`: where a gap of 5 bytes is."""
    headers: Headers = tuple(("Content-Encoding", name) for name in coding)
    whole = len(data) + (5 if cut_at is not None else 0)
    frames = [body(data)] if data and cut_at is None else []
    if cut_at is not None:
        frames = [
            body(data[:cut_at]),
            gap("response.body", 5, offset=cut_at),
            body(data[cut_at:], offset=cut_at + 5),
        ]
    state = shard(body_bytes=CAP, **limits)
    witness = only(
        fold(
            state, opened(), *request(), response_head(headers=headers), *frames,
            end("response", whole),
        )
    )  # fmt: skip
    assert witness.response is not None
    return witness.response.body


def test_no_body_is_an_empty_one() -> None:
    assert shown(b"") == Body(size=0, captured=0, truncated=False)
    assert shown(b"", "gzip").content_encoding == "gzip"


def test_text_is_shown_as_text_and_the_rest_as_base64() -> None:
    assert shown("h\u00e9llo\0".encode()).text == "h\u00e9llo\0"
    binary = shown(b"\xff\xfe\x00")
    assert (binary.text, binary.base64) == (None, base64.b64encode(b"\xff\xfe\x00").decode())


def test_a_body_beyond_the_cap_is_cut_and_its_size_is_exact() -> None:
    found = shown(b"x" * 100)
    assert found == Body(size=100, captured=CAP, truncated=True, truncated_by="cap", text="x" * CAP)


def test_a_text_that_is_cut_within_a_character_stays_text() -> None:
    found = shown(b"x" * (CAP - 1) + "\u4e2d".encode())
    assert (found.text, found.captured, found.size) == ("x" * (CAP - 1), CAP - 1, CAP + 2)


def test_binary_that_is_cut_keeps_all_its_bytes() -> None:
    data = b"\xff" * (CAP - 1) + "\u4e2d".encode()
    found = shown(data)
    assert base64.b64decode(found.base64 or "") == data[:CAP]
    assert found.captured == CAP


def test_a_text_that_ends_within_a_character_by_itself_is_base64() -> None:
    assert shown(b"abc\xe4\xb8").base64 is not None


def test_the_prefix_before_a_gap_is_shown() -> None:
    found = shown(b"abcdefgh", cut_at=3)
    assert (found.text, found.size, found.captured, found.truncated_by) == ("abc", 13, 3, "gap")


def test_a_gap_beyond_the_cap_is_not_what_cut() -> None:
    assert shown(b"x" * 50, cut_at=40).truncated_by == "cap"


def test_a_coding_is_undone_and_named() -> None:
    sent = gzip.compress(b"hello", mtime=0)
    found = shown(sent, "GZIP")
    assert (found.text, found.decoded, found.content_encoding) == ("hello", True, "GZIP")
    assert (found.size, found.captured, found.truncated) == (len(sent), len(sent), False)


def test_codings_in_several_headers_are_one_list() -> None:
    sent = gzip.compress(gzip.compress(b"hi", mtime=0)[:], mtime=0)
    state = shard()
    headers = (("content-encoding", "gzip"), ("content-encoding", "gzip"))
    frames = [*request(), response_head(headers=headers), body(sent), end("response", len(sent))]
    answer = only(fold(state, opened(), *frames)).response
    assert answer is not None
    assert (answer.body.text, answer.body.content_encoding) == ("hi", "gzip, gzip")


@pytest.mark.parametrize("coding", ["compress", "aws-chunked"])
def test_an_unknown_coding_stays_and_is_named(coding: str) -> None:
    found = shown(b"\xff\x00", coding)
    assert (found.base64, found.decoded, found.content_encoding) == ("/wA=", False, coding)


def test_a_broken_coding_stays() -> None:
    found = shown(b"no gzip", "gzip")
    assert (found.text, found.decoded, found.truncated) == ("no gzip", False, False)


def test_decoded_bytes_beyond_the_cap_are_cut() -> None:
    found = shown(gzip.compress(b"x" * 100, mtime=0), "gzip")
    assert (found.text, found.decoded, found.truncated_by) == ("x" * CAP, True, "cap")


def test_a_coding_that_is_cut_shows_what_can_be_decoded() -> None:
    sent = gzip.compress(b"abcdefghijklmnop", mtime=0)
    found = shown(sent, "gzip", cut_at=len(sent) - 9)
    assert (found.decoded, found.truncated_by) == (True, "gap")
    assert "abcdefghijklmnop".startswith(found.text or "")


def test_a_repr_shows_no_bytes() -> None:
    assert repr(shown(b"secret")) == "Body(size=6, captured=6)"
