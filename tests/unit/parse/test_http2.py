"""HTTP/2 as transcripts: frames made by hand, and by the h2 and hpack libraries as the other side.

Header blocks are in test_hpack.py, loss in test_loss.py.
"""

from __future__ import annotations

import hpack as reference
import pytest

from services.messages import (
    BodyFrame,
    CloseFrame,
    Direction,
    EndFrame,
    GapFrame,
    InterimHead,
    MalformedFrame,
    OpaqueFrame,
    RequestHead,
    ResetFrame,
    ResponseHead,
)
from services.parse.limits import Limits
from tests.support.wire import (
    EGRESS,
    INGRESS,
    Kernel,
    Transcript,
    converse,
    deliver,
    joined_bodies,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PUSH, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 32
GET = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/x?y=1")]
OK = [(":status", "200"), ("server", "s")]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


class Peer:
    """One side: encodes header blocks in order."""

    def __init__(self) -> None:
        self.encoder = reference.Encoder()

    def block(self, fields: list[tuple[str, str]]) -> bytes:
        return self.encoder.encode(fields)

    def headers(
        self, fields: list[tuple[str, str]], stream: int = 1, *, end: bool = False
    ) -> bytes:
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame(HEADERS, flags, stream, self.block(fields))


@pytest.fixture
def client() -> Peer:
    return Peer()


@pytest.fixture
def server() -> Peer:
    return Peer()


START: Transcript = [(EGRESS, PREFACE + frame(SETTINGS)), (INGRESS, frame(SETTINGS))]


def told(transcript: Transcript, **options: object) -> list[object]:
    """The frames between open and close, opaque ones behind them."""
    frames = deliver([*START, *transcript], **options)[1:]
    return [frame for frame in frames if not isinstance(frame, CloseFrame)]  # type: ignore[arg-type]


def at_once(transcript: Transcript) -> list[object]:
    """Like `told`, for what is too long to be delivered byte by byte."""
    frames = converse([*START, *transcript], joined=False, limits=None)[1:]
    return [frame for frame in frames if not isinstance(frame, CloseFrame)]


def kinds(frames: list[object]) -> list[str]:
    return [type(frame).__name__ for frame in frames]


def test_an_exchange_with_bodies_and_trailers(client, server):
    request, data, end, response, answer, last = told(
        [
            (EGRESS, client.headers(GET) + frame(DATA, END_STREAM, 1, b"hello")),
            (INGRESS, server.headers(OK) + frame(DATA, 0, 1, b"wor") + frame(DATA, 0, 1, b"ld")),
            (INGRESS, server.headers([("grpc-status", "0")], end=True)),
        ]
    )
    assert isinstance(request, RequestHead)
    assert (request.method, request.scheme, request.authority, request.path) == (
        "GET", "https", "a", "/x?y=1",
    )  # fmt: skip
    assert (request.stream, request.direction, request.protocol) == (1, EGRESS, "http/2")
    assert (request.headers, request.hpack_partial) == ((), False)
    assert isinstance(data, BodyFrame)
    assert (data.side, data.data) == ("request", b"hello")
    assert isinstance(end, EndFrame)
    assert (end.side, end.size) == ("request", 5)
    assert isinstance(response, ResponseHead)
    assert (response.status, response.headers) == (200, (("server", "s"),))
    assert isinstance(answer, BodyFrame)
    assert (answer.offset, answer.size, answer.data) == (0, 5, b"world")
    assert isinstance(last, EndFrame)
    assert (last.size, last.trailers) == (5, (("grpc-status", "0"),))


def test_a_server_reads_requests(client):
    transcript = [(Direction(1 - d), data) for d, data in START]
    frames = deliver([*transcript, (INGRESS, client.headers(GET, end=True))])
    assert kinds(frames) == ["OpenFrame", "RequestHead", "EndFrame", "CloseFrame"]
    assert frames[1].direction == INGRESS


def test_the_servers_settings_may_come_first(client):
    frames = deliver([(INGRESS, frame(SETTINGS)), START[0], (EGRESS, client.headers(GET))])
    assert kinds(frames)[1:-1] == ["RequestHead"]


def test_streams_interleave(client, server):
    frames = told(
        [
            (EGRESS, client.headers(GET, 1) + client.headers(GET, 3, end=True)),
            (INGRESS, server.headers(OK, 3) + server.headers(OK, 1)),
            (EGRESS, frame(DATA, END_STREAM, 1, b"a")),
            (INGRESS, frame(DATA, 0, 3, b"c") + frame(DATA, END_STREAM, 1, b"b")),
            (INGRESS, frame(DATA, END_STREAM, 3, b"d")),
        ]
    )
    heads = [(f.stream, type(f)) for f in frames if isinstance(f, RequestHead | ResponseHead)]
    assert heads == [(1, RequestHead), (3, RequestHead), (3, ResponseHead), (1, ResponseHead)]
    ends = [(f.stream, f.side, f.size) for f in frames if isinstance(f, EndFrame)]
    assert ends == [(3, "request", 0), (1, "request", 1), (1, "response", 1), (3, "response", 2)]


def test_padding_and_priority_are_taken_off(client):
    block = bytes((3,)) + bytes(5) + client.block(GET) + bytes(3)
    request, data, end = told(
        [
            (EGRESS, frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 1, block)),
            (EGRESS, frame(DATA, PADDED | END_STREAM, 1, b"\x02ab\0\0")),
        ]
    )
    assert (request.path, data.data, end.size) == ("/x?y=1", b"ab", 2)


def test_padding_may_be_all_there_is(client):
    frames = told(
        [(EGRESS, client.headers(GET) + frame(DATA, PADDED | END_STREAM, 1, b"\x02\0\0"))]
    )
    assert kinds(frames) == ["RequestHead", "EndFrame"]
    frames = told([(EGRESS, Peer().headers(GET) + frame(DATA, PADDED | END_STREAM, 1, b"\0"))])
    assert kinds(frames) == ["RequestHead", "EndFrame"]


def test_a_block_in_continuations_is_one_head(client):
    block = client.block([*GET, ("x", "y" * 100)])
    parts = [
        frame(HEADERS, END_STREAM, 1, block[:5]),
        frame(CONTINUATION, 0, 1, block[5:9]),
        frame(CONTINUATION, END_HEADERS, 1, block[9:]),
    ]
    assert kinds(told([(EGRESS, part) for part in parts])) == ["RequestHead", "EndFrame"]


def test_interim_responses_precede_the_final_one(client, server):
    frames = told(
        [
            (EGRESS, client.headers(GET, end=True)),
            (INGRESS, server.headers([(":status", "103"), ("link", "</a>")])),
            (INGRESS, server.headers(OK, end=True)),
        ]
    )
    assert kinds(frames) == ["RequestHead", "EndFrame", "InterimHead", "ResponseHead", "EndFrame"]
    assert isinstance(frames[2], InterimHead)
    assert (frames[2].status, frames[2].headers) == (103, (("link", "</a>"),))


def test_the_host_header_stands_in_for_the_authority(client):
    request, *_ = told([(EGRESS, client.headers([*GET[:2], GET[3], ("host", "h")], end=True))])
    assert request.authority == "h"


def test_extended_connect_keeps_its_protocol(client):
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]]
    request, *_ = told([(EGRESS, client.headers(fields))])
    assert (request.method, request.headers) == ("CONNECT", ((":protocol", "websocket"),))


def test_a_reset_ends_a_stream_and_what_still_comes_of_it_is_nothing(client, server):
    frames = told(
        [
            (EGRESS, client.headers(GET)),
            (EGRESS, frame(RST, 0, 1, (8).to_bytes(4))),
            (INGRESS, server.headers(OK) + frame(DATA, END_STREAM, 1, b"late")),
            (INGRESS, frame(RST, 0, 1, (8).to_bytes(4))),
        ]
    )
    assert kinds(frames) == ["RequestHead", "ResetFrame"]
    assert isinstance(frames[1], ResetFrame)
    assert (frames[1].code, frames[1].direction) == (8, EGRESS)


def test_goaway_refuses_the_streams_above_its_last(client):
    goaway = frame(GOAWAY, 0, 0, (1).to_bytes(4) + (2).to_bytes(4) + b"debug")
    frames = told(
        [
            (EGRESS, client.headers(GET, 1) + client.headers(GET, 3)),
            (EGRESS, frame(GOAWAY, 0, 0, bytes(8))),
            (INGRESS, goaway),
        ]
    )
    assert [(f.stream, f.code) for f in frames if isinstance(f, ResetFrame)] == [(3, 2)]


def test_a_push_is_an_exchange_that_the_server_began(client, server):
    promise = (2).to_bytes(4) + server.block([*GET, ("x-new", "1")])
    frames = told(
        [
            (EGRESS, client.headers(GET, end=True)),
            (INGRESS, frame(PUSH, END_HEADERS, 1, promise)),
            (
                INGRESS,
                frame(PUSH, END_HEADERS | PADDED, 1, b"\x01\0\0\0\4" + server.block(GET) + b"\0"),
            ),
            (INGRESS, server.headers(OK, 2) + frame(DATA, END_STREAM, 2, b"pushed")),
            (INGRESS, server.headers([*OK, ("x-new", "1")], 1, end=True)),
        ]
    )
    heads = [f for f in frames if isinstance(f, RequestHead)]
    assert [(f.stream, f.pushed, f.direction, f.path) for f in heads] == [
        (1, False, EGRESS, "/x?y=1"), (2, True, EGRESS, "/x?y=1"), (4, True, EGRESS, "/x?y=1"),
    ]  # fmt: skip
    assert heads[1].headers == (("x-new", "1"),)
    pushed = [f for f in frames if f.stream == 2]
    assert kinds(pushed) == ["RequestHead", "EndFrame", "ResponseHead", "BodyFrame", "EndFrame"]
    assert frames[-2].headers == (("server", "s"), ("x-new", "1"))


def test_a_table_size_update_is_followed(client):
    client.encoder.header_table_size = 60
    first = client.headers([*GET, ("x-a", "1")], 1, end=True)
    second = client.headers([*GET, ("x-b", "2")], 3, end=True)
    frames = told([(EGRESS, first + second + client.headers([*GET, ("x-b", "2")], 5, end=True))])
    assert [f.headers for f in frames if isinstance(f, RequestHead)] == [
        (("x-a", "1"),), (("x-b", "2"),), (("x-b", "2"),),
    ]  # fmt: skip


def test_a_new_preface_begins_a_new_range_of_streams(client):
    again = Peer()
    frames = told(
        [
            (EGRESS, client.headers(GET)),
            (INGRESS, frame(SETTINGS) + frame(PING)[:5]),
            (EGRESS, PREFACE + frame(SETTINGS) + again.headers(GET, end=True)),
            (INGRESS, Peer().headers(OK, end=True)),
        ]
    )
    streams = [f.stream for f in frames if isinstance(f, RequestHead | ResponseHead)]
    assert streams == [1, 2**31 + 1, 2**31 + 1]


def test_unknown_frames_and_huge_ones_are_passed_over(client):
    huge = frame(SETTINGS, 0, 0, bytes(70_000))
    frames = at_once([(EGRESS, frame(0xEE, 0, 9, b"grease") + huge), (EGRESS, client.headers(GET))])
    assert kinds(frames) == ["RequestHead"]


@pytest.mark.parametrize(
    "bad",
    [
        frame(HEADERS, END_HEADERS, 0, b"\x82"),
        frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05\x82"),
        frame(HEADERS, END_HEADERS | PADDED, 1, b""),
        frame(HEADERS, END_HEADERS | PRIORITY, 1, b"\x82"),
        frame(DATA, 0, 0, b"x"),
        frame(DATA, PADDED, 1, b"\x02x"),
        frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
        frame(HEADERS, 0, 1, b"\x82") + frame(PING, 0, 0, bytes(8)),
        frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 3, b"\x82"),
        frame(RST, 0, 1, b"x"),
        frame(GOAWAY, 0, 0, b"x"),
        frame(PUSH, END_HEADERS, 1, b"x"),
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
    ],
    ids=range(13),
)
def test_a_malformed_frame_makes_its_direction_opaque_until_a_proven_frame(bad, client, server):
    late = (EGRESS, client.headers([*GET, ("x", "1")], 5, end=True))
    frames = converse(
        [*START, (EGRESS, bad), (EGRESS, b"no frame at all"), late], joined=False, limits=None
    )
    assert [f for f in frames if isinstance(f, MalformedFrame)]
    assert [f.bytes for f in frames if isinstance(f, OpaqueFrame)][-1] >= 15
    assert [f.stream for f in frames if isinstance(f, RequestHead)] == [5]


def test_a_malformed_block_is_opaque_and_the_next_exchange_is_read(client, server):
    frames = told(
        [
            (EGRESS, frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff\xff")),
            (EGRESS, client.headers(GET, 3, end=True)),
        ]
    )
    malformed, request, _ = frames
    assert isinstance(malformed, MalformedFrame)
    assert (malformed.reason, malformed.stream, malformed.bytes) == ("malformed header block", 1, 7)
    assert (request.stream, request.path) == (3, "/x?y=1")


def test_a_flood_of_continuations_is_bounded_and_reported_once(client):
    flood = frame(HEADERS, 0, 1, b"\x82" * 500) + frame(CONTINUATION, 0, 1, b"\x82" * 600) * 3
    after = frame(CONTINUATION, END_HEADERS, 1, b"") + client.headers(GET, 3, end=True)
    frames = told([(EGRESS, flood), (EGRESS, after)], limits=Limits(head=1000))
    assert kinds(frames) == ["MalformedFrame", "RequestHead", "EndFrame", "OpaqueFrame"]


def test_a_block_in_frames_beyond_all_limits_is_passed_over(client):
    huge = frame(HEADERS, END_HEADERS, 1, bytes(70_000))
    frames = at_once([(EGRESS, huge + frame(HEADERS, 0, 3, bytes(70_000)))])
    assert kinds(frames) == ["MalformedFrame", "MalformedFrame"]
    frames = at_once([(EGRESS, huge), (EGRESS, client.headers(GET, 5, end=True))])
    assert kinds(frames) == ["MalformedFrame", "RequestHead", "EndFrame"]


def test_a_header_list_that_explodes_is_cut_and_reported(client):
    bomb = client.headers([*GET, ("x", "y" * 500)], 1, end=True)
    bomb += frame(HEADERS, END_HEADERS | END_STREAM, 3, client.block(GET) + b"\xbe" * 1000)
    frames = told([(EGRESS, bomb)], limits=Limits(head=2000))
    assert kinds(frames)[2:] == ["MalformedFrame", "RequestHead", "EndFrame"]
    assert len(frames[3].headers) < 5


def test_streams_are_bounded(client):
    requests = b"".join(client.headers(GET, stream) for stream in range(1, 21, 2))
    frames = told([(EGRESS, requests)], limits=Limits(streams=4))
    assert len(frames) == 10


def test_body_bytes_over_the_cap_are_counted(client):
    sent = client.headers(GET) + frame(DATA, END_STREAM, 1, b"0123456789")
    _, body, end = told([(EGRESS, sent)], limits=Limits(body=4))
    assert (body.size, body.data, end.size) == (10, b"0123", 10)


def test_joined_in_the_middle_what_is_unknown_is_named_so(client, server):
    known = [("x-old", "1"), ("x-more", "2")]
    client.headers([*GET, *known], 1)
    server.headers(OK, 1)
    frames = deliver(
        [
            (INGRESS, frame(DATA, 0, 1, b"of an old stream")),
            (EGRESS, client.headers([*GET, *known, ("x-new", "3")], 3, end=True)),
            (INGRESS, server.headers(OK, 3, end=True)),
            (EGRESS, client.headers([("x-new", "3"), (":method", "GET")], 5, end=True)),
        ],
        joined=True,
    )[1:-1]
    request, _, response, _, later, _ = frames
    assert (request.method, request.authority, request.hpack_partial) == ("GET", None, True)
    assert request.headers[-1] == ("x-new", "3")
    assert set(request.headers[:-1]) == {(None, None)}
    assert (response.status, response.hpack_partial) == (200, True)
    assert later.headers == (("x-new", "3"),)
    assert not later.hpack_partial


def test_joined_in_the_middle_trailers_are_no_head(server):
    server.block(OK)
    frames = deliver(
        [
            (EGRESS, Peer().headers(GET, 3, end=True)),
            (INGRESS, server.headers([("grpc-status", "0")], 1, end=True)),
            (INGRESS, server.headers([("half", "way")], 1)),
        ],
        joined=True,
    )[1:-1]
    assert kinds(frames) == ["RequestHead", "EndFrame", "EndFrame"]
    assert frames[2].trailers == (("grpc-status", "0"),)


def test_a_gap_in_a_body_is_a_hole_of_its_stream_only(client):
    kernel = Kernel()
    start = PREFACE + client.headers(GET) + frame(DATA, END_STREAM, 1, b"0123456789")[:-6]
    kernel.batch(kernel.record(EGRESS, start), opened=(kernel.opened(),))
    kernel.lose(EGRESS, 4)
    frames = joined_bodies(kernel.batch(kernel.record(EGRESS, b"89" + client.headers(GET, 3))))
    gap, body, end, request = frames
    assert isinstance(gap, GapFrame)
    assert (gap.stream, gap.part, gap.offset, gap.bytes) == (1, "request.body", 4, 4)
    assert (body.offset, body.data, end.size) == (8, b"89", 10)
    assert not request.hpack_partial


def test_a_gap_elsewhere_poisons_the_header_table(client):
    kernel = Kernel()
    first = client.headers([*GET, ("x-secret", "1")], 1, end=True)
    kernel.batch(kernel.record(EGRESS, PREFACE + first), opened=(kernel.opened(),))
    kernel.lose(EGRESS, len(client.headers([*GET, ("x-lost", "2")], 3, end=True)))
    frames = kernel.batch(
        kernel.record(EGRESS, client.headers([*GET, ("x-secret", "1")], 5, end=True))
    )
    gap, request, _ = frames
    assert (gap.stream, gap.part, gap.reason) == (None, "egress", "ring_full")
    assert request.stream == 5
    assert ("x-secret", "1") not in request.headers
    assert (None, None) in request.headers


def test_a_preface_that_comes_late_begins_nothing_anew(client, server):
    kernel = Kernel()
    preface = kernel.record(EGRESS, PREFACE + frame(SETTINGS) + client.headers(GET, end=True))
    response = server.headers(OK) + frame(DATA, 0, 1, b"ab")
    answer = kernel.record(INGRESS, frame(SETTINGS) + response)
    frames = kernel.batch(answer, opened=(kernel.opened(),)) + kernel.batch(preface)
    frames += kernel.batch(kernel.record(INGRESS, frame(DATA, END_STREAM, 1, b"c")))
    assert [(f.stream, f.offset) for f in frames if isinstance(f, BodyFrame)] == [(1, 0), (1, 2)]


def test_joined_in_the_middle_a_preface_begins_anew(client):
    kernel = Kernel()
    kernel.batch(kernel.record(EGRESS, client.headers(GET)), opened=(kernel.opened(joined=True),))
    frames = kernel.batch(kernel.record(EGRESS, PREFACE + Peer().headers(GET)))
    assert [f.stream for f in frames if isinstance(f, RequestHead)] == [2**31 + 1]
