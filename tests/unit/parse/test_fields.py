"""First lines and fields of HTTP/1 heads, and what is remembered of them."""

from __future__ import annotations

import pytest

from services.parse import fields


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET / HTTP/1.1", ("GET", "/", "http/1.1")),
        (b"GET /a b HTTP/1.0", ("GET", "/a b", "http/1.0")),
        (b"OPTIONS * HTTP/1.1", ("OPTIONS", "*", "http/1.1")),
        (b"GET /", None),
        (b"GET  HTTP/1.1", None),
        (b" / HTTP/1.1", None),
        (b"G\xc3\xa9T / HTTP/1.1", None),
    ],
    ids=range(7),
)
def test_request_lines(line, expected):
    found = fields.request_line(line)
    assert (found and (found.method, found.target, found.version)) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK", (200, "http/1.1")),
        (b"HTTP/1.0 404", (404, "http/1.0")),
        (b"HTTP/1.1 099 X", None),
        (b"HTTP/1.1 2000", None),
        (b"HTTP/1.1 20", None),
        (b"HTTP/2.0 200", None),
        (b"ICY 200 OK", None),
    ],
    ids=range(7),
)
def test_status_lines(line, expected):
    found = fields.status_line(line)
    assert (found and (found.status, found.version)) == expected


def test_equal_lengths_are_one_and_different_ones_none():
    same = fields.fields(b"Content-Length: 5\r\ncontent-length: 5, 5\r\n\r\n")
    assert same is not None
    assert same.framing.length == 5
    assert fields.fields(b"Content-Length: 5, 6\r\n\r\n") is None
    assert fields.fields(b"Content-Length:\r\n\r\n") is None


def test_what_is_remembered_is_bounded_and_changes_nothing():
    for number in range(5000):
        block = b"X: %d\r\nSame: 1\r\n\r\n" % number
        for _ in range(2):
            found = fields.fields(block)
            assert found is not None
            assert found.headers == (("x", str(number)), ("same", "1"))


def test_long_lines_and_blocks_are_read_all_the_same():
    value = b"v" * 3000
    found = fields.fields(b"Long: " + value + b"\r\n\r\n")
    assert found is not None
    assert found.headers == (("long", value.decode()),)
