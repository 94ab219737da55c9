"""Which protocol first bytes are; each beginning of them is undecided until it is known."""

from __future__ import annotations

import pytest

from services.messages import OpaqueFrame, RequestHead, ResponseHead
from services.parse.detection import PREFACE, Detected, detect, frames_plausible
from tests.support.wire import EGRESS, INGRESS, deliver

SETTINGS = bytes(3) + b"\x04" + bytes(5)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (PREFACE, Detected.HTTP2_CLIENT),
        (PREFACE + b"more", Detected.HTTP2_CLIENT),
        (SETTINGS, Detected.HTTP2),
        (b"\0\0\x06\x04\0\0\0\0\0" + bytes(6), Detected.HTTP2),
        (b"GET / HTTP/1.1\r\n", Detected.HTTP1_REQUEST),
        (b"\r\nM-SEARCH * HTTP/1.1\n", Detected.HTTP1_REQUEST),
        (b"HTTP/1.1 200 OK\r\n", Detected.HTTP1_RESPONSE),
        (b"HTTP/1.0 404\r\n", Detected.HTTP1_RESPONSE),
    ],
    ids=range(8),
)
def test_each_beginning_is_undecided_until_it_is_known(data, expected):
    assert detect(data) == expected
    assert detect(b"") == Detected.MORE
    answers = [detect(data[:size]) for size in range(1, len(data))]
    assert set(answers) <= {Detected.MORE, expected}


@pytest.mark.parametrize(
    "data",
    [
        bytes(64),
        b"get / http/1.1\r\n",
        b"EHLO mail.example\r\n",
        b"SELECT 1;\n",
        b"GET / HTTP/3\r\n",
        b"HTTP/1.1 999 X\r\n",
        b"PRI * HTTP/1.1x",
        b"\0\0\0\x04\0\0\0\0\x01",  # SETTINGS on a stream
        b"\0\0\x05\x04\0\0\0\0\0",  # SETTINGS of five bytes
        b"\0\0\0\x04\0\0\0\0\0" + b"\xff" * 9,
        b"\x16\x03\x01\x02\x00",
        b"\0\0\0\x29\0\x03\0\0user\0postgres\0",
        b"A" * 40,
        b"A" * 20_000,
        b"GET /" + b"a" * 20_000,
    ],
    ids=range(15),
)
def test_anything_else_is_unknown(data):
    assert detect(data) == Detected.UNKNOWN


@pytest.mark.parametrize(
    ("data", "plausible"),
    [
        (b"", False),
        (SETTINGS[:8], False),
        (SETTINGS, True),
        (SETTINGS + SETTINGS, True),
        (SETTINGS + b"\xff" * 9, False),
        (b"\0\0\x04\x08\0\0\0\0\x05" + bytes(4), True),
        (b"\0\0\x04\x08\0\0\0\0\0" + bytes(4), True),
        (b"\0\0\x05\x08\0\0\0\0\0", False),
        (b"\0\0\x01\0\0\0\0\0\0", False),
        (b"\0\0\x01\0\x40\0\0\0\x01", False),
        (b"\0\0\x01\0\x01\x80\0\0\x01", False),
        (b"\0\x7f\0\0\x01\0\0\0\x01", False),
        (b"\0\0\x06\x04\x01\0\0\0\0", False),
        (b"GET / HTTP/1.1\r\n", False),
        (bytes(64), False),
    ],
    ids=range(15),
)
def test_frame_headers_are_plausible_only_where_the_rfc_allows_them(data, plausible):
    assert frames_plausible(data) == plausible


def test_many_tiny_pieces_of_a_first_line_are_held_as_few():
    target = "/" + "a" * 2000
    frames = deliver([(EGRESS, f"GET {target} HTTP/1.1\r\n\r\n".encode())])
    assert isinstance(frames[1], RequestHead)
    assert frames[1].path == target


@pytest.mark.parametrize("data", [b"GET / HT", b"HTTP/1.1 2", PREFACE[:9], SETTINGS[:4]])
def test_what_stays_undecided_is_opaque_at_the_close(data):
    (opaque,) = [f for f in deliver([(EGRESS, data)]) if isinstance(f, OpaqueFrame)]
    assert (opaque.protocol, opaque.bytes) == ("unknown", len(data))


def test_joined_in_the_middle_a_response_tells_who_is_the_client():
    headers = b"\0\0\x01\x01\x05\0\0\0\x03\x88"
    frames = deliver([(EGRESS, SETTINGS), (INGRESS, headers)], joined=True)
    assert [(f.stream, f.status) for f in frames if isinstance(f, ResponseHead)] == [(3, 200)]


def test_empty_lines_without_end_are_not_awaited_for_ever():
    assert detect(b"\r\n" * 100) is Detected.MORE
    assert detect(b"\r\n" * 1000) is Detected.UNKNOWN
