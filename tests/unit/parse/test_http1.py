"""HTTP/1 as transcripts: what both sides sent, and the frames it gives, however it is cut.

Loss is in test_loss.py, detection in test_detection.py.
"""

from __future__ import annotations

import pytest

from services.messages import (
    AnyFrame,
    BodyFrame,
    EndFrame,
    GapFrame,
    InterimHead,
    MalformedFrame,
    OpaqueFrame,
    RequestHead,
    ResponseHead,
)
from services.parse.limits import Limits
from tests.support.wire import EGRESS, INGRESS, deliver


def story(frames: list[AnyFrame]) -> list[str]:
    """Frames in short, for reading."""
    return [line for frame in frames if (line := _line(frame))]


def _line(frame: AnyFrame) -> str:
    match frame:
        case RequestHead():
            return f"{frame.stream} {frame.method} {frame.authority} {frame.path}"
        case ResponseHead():
            return f"{frame.stream} {frame.status}"
        case InterimHead():
            return f"{frame.stream} interim {frame.status}"
        case BodyFrame():
            return f"{frame.stream} {frame.side} {frame.offset}+{frame.size} {frame.data.decode()}"
        case EndFrame():
            return f"{frame.stream} {frame.side} end {frame.size}"
        case MalformedFrame():
            return f"malformed {frame.direction.name} {frame.reason} {frame.bytes}"
        case OpaqueFrame():
            return f"opaque {frame.direction.name} {frame.protocol} {frame.bytes}"
        case _:
            return ""


GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET_1, GET_2 = ["1 GET h /a", "1 request end 0"], ["2 GET h /a", "2 request end 0"]
OK_1, OK_2 = ([f"{n} 200", f"{n} response 0+2 ok", f"{n} response end 2"] for n in (1, 2))


def head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode()


def test_names_are_lower_case_and_values_and_order_are_as_sent():
    frames = deliver(
        [(EGRESS, head("GET /a?b=%20 HTTP/1.1", "Host: H", "X-B: 1", "x-a:  2 ", "X-B: 3"))]
    )
    request = frames[1]
    assert isinstance(request, RequestHead)
    assert request.headers == (("host", "H"), ("x-b", "1"), ("x-a", "2"), ("x-b", "3"))
    assert (request.path, request.authority, request.scheme) == ("/a?b=%20", "H", "https")
    assert (request.protocol, request.direction) == ("http/1.1", EGRESS)


def test_values_are_utf8_or_else_latin1():
    request = deliver([(EGRESS, b"GET / HTTP/1.1\r\nA: \xc3\xa9\r\nB: \xe9\r\n\r\n")])[1]
    assert isinstance(request, RequestHead)
    assert request.headers == (("a", "é"), ("b", "é"))


def test_a_head_has_the_time_of_its_first_byte_and_an_end_that_of_its_last():
    frames = deliver(
        [
            (EGRESS, b"POST / HTTP/1.1\r\nContent-"),
            (EGRESS, b"Length: 2\r\n\r\na"),
            (EGRESS, b"b"),
        ]
    )
    opened, request, *_, end, _ = frames
    assert request.time_ns - opened.time_ns == 1000
    assert end.time_ns - request.time_ns == 2000


def test_kept_alive_exchanges_have_ordinals():
    frames = deliver([(EGRESS, GET), (INGRESS, OK), (EGRESS, GET), (INGRESS, OK)])
    assert story(frames) == [*GET_1, *OK_1, *GET_2, *OK_2]


def test_pipelined_responses_answer_in_order():
    frames = deliver([(EGRESS, GET + GET), (INGRESS, OK + OK)])
    assert story(frames) == [*GET_1, *GET_2, *OK_1, *OK_2]


def test_a_server_reads_requests_and_writes_responses():
    frames = deliver([(INGRESS, GET), (EGRESS, OK)])
    assert story(frames) == [*GET_1, *OK_1]
    assert isinstance(frames[1], RequestHead)
    assert frames[1].direction == INGRESS


def test_head_response_has_no_body_despite_its_length():
    frames = deliver(
        [
            (EGRESS, b"HEAD / HTTP/1.1\r\n\r\n" + GET),
            (INGRESS, b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + OK),
        ]
    )
    assert story(frames)[4:] == ["1 200", "1 response end 0", *OK_2]


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(status):
    frames = deliver(
        [
            (EGRESS, GET + GET),
            (INGRESS, head(f"HTTP/1.1 {status} X", "Content-Length: 5") + OK),
        ]
    )
    assert story(frames)[4:] == [f"1 {status}", "1 response end 0", *OK_2]


@pytest.mark.parametrize("status", [100, 102, 103])
def test_an_interim_response_precedes_the_final_one(status):
    interim = head(f"HTTP/1.1 {status} X", "Link: </a>")
    frames = deliver([(EGRESS, GET), (INGRESS, interim), (INGRESS, OK)])
    assert story(frames) == [*GET_1, f"1 interim {status}", *OK_1]


def test_chunks_with_extensions_and_trailers_give_content_only():
    frames = deliver(
        [
            (EGRESS, GET + GET),
            (
                INGRESS,
                head("HTTP/1.1 200 OK", "Transfer-Encoding: gzip, Chunked")
                + b'3;a="\xff"\r\nabc\r\n0A ;x\r\n0123456789\r\n000\r\nX-Sum: 1\r\nY: 2\r\n\r\n'
                + OK,
            ),
        ]
    )
    assert story(frames)[4:7] == ["1 200", "1 response 0+13 abc0123456789", "1 response end 13"]
    assert story(frames)[7:] == OK_2
    ends = [f for f in frames if isinstance(f, EndFrame) and f.side == "response"]
    assert ends[0].trailers == (("x-sum", "1"), ("y", "2"))


def test_a_chunked_request():
    frames = deliver(
        [
            (
                EGRESS,
                head("POST / HTTP/1.1", "Transfer-Encoding: chunked")
                + b"2\r\nhi\r\n0\r\n\r\n"
                + GET,
            ),
        ]
    )
    assert story(frames) == ["1 POST None /", "1 request 0+2 hi", "1 request end 2", *GET_2]


def test_a_response_without_framing_ends_with_the_connection():
    frames = deliver([(EGRESS, GET), (INGRESS, b"HTTP/1.0 200 OK\r\n\r\nab"), (INGRESS, b"c")])
    assert story(frames)[2:] == [
        "1 200",
        "1 response 0+2 ab",
        "1 response 2+1 c",
        "1 response end 3",
    ]
    assert frames[3].protocol == "http/1.0"


def test_lone_line_feeds_and_folded_lines_are_read():
    frames = deliver([(EGRESS, b"\r\n\nGET / HTTP/1.1\nA: 1\n \t 2\nB:\n\n")])
    assert isinstance(frames[1], RequestHead)
    assert frames[1].headers == (("a", "1 2"), ("b", ""))


def test_an_absolute_target_tells_scheme_and_authority():
    frames = deliver([(EGRESS, head("GET http://a.example:81/p?q HTTP/1.1", "Host: other"))])
    assert isinstance(frames[1], RequestHead)
    assert (frames[1].scheme, frames[1].authority) == ("http", "a.example:81")
    assert frames[1].path == "http://a.example:81/p?q"


def test_after_101_the_connection_is_another_protocol():
    frames = deliver(
        [
            (EGRESS, head("GET /chat HTTP/1.1", "Upgrade: websocket")),
            (
                INGRESS,
                head("HTTP/1.1 101 Switching Protocols", "Upgrade: other/2") + b"\x81\x01a",
            ),
            (EGRESS, b"\x81\x81abcd1"),
        ]
    )
    assert sorted(story(frames)[2:]) == [
        "1 interim 101",
        "1 response end 0",
        "opaque EGRESS other/2 7",
        "opaque INGRESS other/2 3",
    ]


def test_after_connect_the_connection_is_a_tunnel():
    frames = deliver(
        [
            (EGRESS, head("CONNECT a:443 HTTP/1.1", "Host: x")),
            (INGRESS, head("HTTP/1.1 200 OK", "Content-Length: 7")),
            (EGRESS, b"GET / nonsense"),
        ]
    )
    assert story(frames) == [
        "1 CONNECT a:443 a:443",
        "1 request end 0",
        "1 200",
        "1 response end 0",
        "opaque EGRESS tunnel 14",
    ]


def test_a_refused_connect_goes_on():
    frames = deliver(
        [
            (EGRESS, head("CONNECT a:1 HTTP/1.1")),
            (INGRESS, head("HTTP/1.1 407 P", "Content-Length: 0")),
            (EGRESS, GET),
        ]
    )
    assert story(frames)[-2:] == GET_2


def test_both_framings_are_reported_and_chunked_wins():
    frames = deliver(
        [
            (
                EGRESS,
                head("POST / HTTP/1.1", "Content-Length: 3", "Transfer-Encoding: chunked")
                + b"1\r\na\r\n0\r\n\r\n"
                + GET,
            ),
        ]
    )
    assert frames[1].anomaly == "content-length and transfer-encoding"
    assert story(frames) == [
        "1 POST None /",
        "1 request 0+1 a",
        "1 request end 1",
        *GET_2,
    ]


@pytest.mark.parametrize(
    "bad",
    [
        head("POST / HTTP/1.1", "Content-Length: 3", "Content-Length: 4"),
        head("POST / HTTP/1.1", "Content-Length: -3"),
        head("POST / HTTP/1.1", "Content-Length: ٣"),
        head("POST / HTTP/1.1", "Content-Length: " + "9" * 30),
        head("POST / HTTP/1.1", "Transfer-Encoding: gzip"),
        head("POST / HTTP/1.1", "no colon"),
        head("POST / HTTP/1.1", "sp ace: 1"),
        head("POST / HTTP/1.1", ": 1"),
        head("POST  HTTP/1.1"),
        head("PO(ST / HTTP/1.1"),
        head("POST / HTTP/2.1"),
        head("GET /"),
    ],
    ids=range(12),
)
def test_a_malformed_request_makes_its_direction_opaque(bad):
    frames = deliver([(EGRESS, GET), (INGRESS, OK), (EGRESS, bad)])
    assert story(frames)[5:] == [f"malformed EGRESS no request head {len(bad)}"]


@pytest.mark.parametrize(
    "bad", ["HTTP/1.1 20 OK", "HTTP/1.1 2000", "HTTP/1.1  200", "HTTP/1.2 200", "HTTP/1.1 0xx", "x"]
)
def test_a_malformed_response_makes_its_direction_opaque(bad):
    frames = deliver([(EGRESS, GET), (INGRESS, OK), (EGRESS, GET), (INGRESS, head(bad))])
    assert story(frames)[-1].startswith("malformed INGRESS no response head")


def test_after_a_malformed_request_responses_are_still_read():
    frames = deliver([(EGRESS, GET + b"\0\n\n"), (EGRESS, b"more"), (INGRESS, OK), (INGRESS, OK)])
    assert [line for line in story(frames) if "200" in line] == ["1 200", "2 200"]
    assert "opaque EGRESS unknown 4" in story(frames)


CHUNKED = head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"xyz\r\n", "no chunk size"),
        (b"\r\n", "no chunk size"),
        (b"-1\r\n", "no chunk size"),
        (b"1" * 5000, "no chunk size"),
        (b"1\r\nab\n", "no end of chunk"),
        (b"1\r\na\rb", "no end of chunk"),
        (b"0\r\nno trailer\r\n\r\n", "no trailers"),
    ],
    ids=range(7),
)
def test_a_malformed_chunk_makes_its_direction_opaque(body, reason):
    frames = deliver([(EGRESS, GET), (INGRESS, CHUNKED), (INGRESS, body)])
    malformed = [line for line in story(frames) if line.startswith("malformed")]
    assert len(malformed) == 1
    assert reason in malformed[0]


def test_heads_and_trailers_have_a_limit():
    small = Limits(head=100)
    long = head("HTTP/1.1 200 OK", "A: " + "a" * 200)
    frames = deliver([(EGRESS, GET), (INGRESS, long)], limits=small)
    assert "malformed INGRESS head too large" in "".join(story(frames))
    frames = deliver([(EGRESS, GET), (INGRESS, CHUNKED + b"0\r\na: " + b"a" * 200)], limits=small)
    assert "malformed INGRESS no trailers" in "".join(story(frames))


def test_body_bytes_over_the_cap_are_counted_not_kept():
    body = b"0123456789" * 10
    frames = deliver(
        [(EGRESS, GET), (INGRESS, head("HTTP/1.1 200 OK", "Content-Length: 100") + body)],
        limits=Limits(body=15),
    )
    bodies = [frame for frame in frames if isinstance(frame, BodyFrame)]
    assert [(frame.size, frame.data) for frame in bodies] == [(100, body[:15])]
    assert story(frames)[-1] == "1 response end 100"


def test_requests_without_responses_are_bounded_and_beyond_that_nothing_is_paired():
    frames = deliver([(EGRESS, GET * 3), (INGRESS, OK)], limits=Limits(waiting=2))
    assert [frame.stream for frame in frames if isinstance(frame, RequestHead)] == [1, 2]
    assert not [frame for frame in frames if isinstance(frame, ResponseHead)]
    told = [(f.stream, f.reason) for f in frames if isinstance(f, GapFrame)]
    assert told == [(1, "pairing_unproven"), (2, "pairing_unproven")]


def test_an_unfinished_message_has_no_end():
    frames = deliver([(EGRESS, b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")])
    assert story(frames) == ["1 POST None /", "1 request 0+3 abc"]


def test_an_unfinished_head_is_opaque():
    frames = deliver([(EGRESS, GET + b"GET / HT")])
    assert story(frames) == [*GET_1, "opaque EGRESS unknown 8"]


def test_joined_in_the_middle_a_response_without_its_request_is_read():
    frames = deliver(
        [(INGRESS, b"rest of a body"), (INGRESS, OK), (EGRESS, GET), (INGRESS, OK)], joined=True
    )
    assert [line for line in story(frames) if not line.startswith("opaque")] == [
        *OK_1,
        *GET_2,
        *OK_2,
    ]


def test_a_coded_response_without_chunks_ends_with_the_connection():
    frames = deliver(
        [
            (EGRESS, GET),
            (
                INGRESS,
                head("HTTP/1.1 200 OK", "Transfer-Encoding: gzip", "Content-Length: 1") + b"abc",
            ),
        ]
    )
    assert story(frames)[-1] == "1 response end 3"


def test_what_is_malformed_belongs_to_the_exchange_that_it_is_part_of():
    def streams(*transcript):
        return [f.stream for f in deliver(transcript) if isinstance(f, MalformedFrame)]

    assert streams((EGRESS, GET + b"\0\n\n")) == [None]
    assert streams((EGRESS, GET), (INGRESS, OK), (EGRESS, GET), (INGRESS, b"\0\n\n")) == [2]
    assert streams((EGRESS, GET), (INGRESS, CHUNKED + b"x\n")) == [1]
    assert streams((EGRESS, GET), (INGRESS, CHUNKED + b"0\n\n")) == []


EXPECTING = b"POST /b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
REFUSED = b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"


def test_a_body_that_was_not_wanted_is_not_the_next_request():
    frames = deliver([(EGRESS, EXPECTING), (INGRESS, REFUSED), (EGRESS, GET), (INGRESS, OK)])
    told = story(frames)
    assert "1 request end 0" in told
    assert "2 GET h /a" in told
    assert "2 200" in told


def test_a_body_that_is_sent_although_it_was_refused_is_a_body():
    frames = deliver([(EGRESS, EXPECTING), (INGRESS, REFUSED), (EGRESS, b"abc"), (EGRESS, GET)])
    told = story(frames)
    assert "1 request 0+3 abc" in told
    assert "2 GET h /a" in told
