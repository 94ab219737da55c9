"""gRPC over HTTP/2 and gRPC-Web over both: messages split, joined, compressed, lost."""

from __future__ import annotations

import base64

import hpack as reference
import pytest

from services.messages import BodyFrame, EndFrame, GapFrame, GrpcFrame, ResponseHead
from tests.support.messages import grpc
from tests.support.wire import EGRESS, INGRESS, Kernel, Transcript, assert_exact, deliver

START: Transcript = [
    (EGRESS, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4\0" + bytes(4)),
    (INGRESS, bytes(3) + b"\4\0" + bytes(4)),
]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def data(payload: bytes, *, end: bool = False, stream: int = 1) -> bytes:
    return frame(0, 1 if end else 0, stream, payload)


@pytest.fixture
def client():
    return reference.Encoder()


@pytest.fixture
def server():
    return reference.Encoder()


def request(peer: reference.Encoder, kind: str = "application/grpc", stream: int = 1) -> bytes:
    return frame(1, 4, stream, peer.encode([
        (":method", "POST"), (":scheme", "https"), (":authority", "a"),
        (":path", "/shop.Cart/Add"), ("content-type", kind), ("te", "trailers"),
        ("grpc-encoding", "gzip"),
    ]))  # fmt: skip


def response(peer: reference.Encoder, kind: str = "application/grpc+proto") -> bytes:
    fields = [(":status", "200"), ("content-type", kind), ("grpc-encoding", "identity")]
    return frame(1, 4, 1, peer.encode(fields))


def trailers(peer: reference.Encoder, *more: tuple[str, str]) -> bytes:
    return frame(1, 5, 1, peer.encode([("grpc-status", "0"), *more]))


def sent(frames: list[object]) -> list[tuple[object, ...]]:
    return [
        (f.side, f.index, f.size, f.data, f.encoding, f.truncated_by)
        for f in frames
        if isinstance(f, GrpcFrame)
    ]


def test_messages_are_split_and_joined_over_data_frames(client, server):
    one, two, three = grpc(b"first"), grpc(b"second"), grpc(b"")
    frames = deliver([
        *START,
        (EGRESS, request(client) + data(one[:2]) + data(one[2:] + two + three[:4])),
        (EGRESS, data(three[4:], end=True)),
        (INGRESS, response(server) + data(grpc(b"answer")) + trailers(server)),
    ])  # fmt: skip
    assert sent(frames) == [
        ("request", 0, 5, b"first", None, None), ("request", 1, 6, b"second", None, None),
        ("request", 2, 0, b"", None, None), ("response", 0, 6, b"answer", None, None),
    ]  # fmt: skip
    ends = [(f.side, f.size, f.trailers) for f in frames if isinstance(f, EndFrame)]
    assert ends == [("request", 26, ()), ("response", 11, (("grpc-status", "0"),))]
    assert not any(f.data for f in frames if isinstance(f, BodyFrame))


def test_a_compressed_message_says_how(client, server):
    frames = deliver([
        *START,
        (EGRESS, request(client) + data(grpc(b"coded", 1) + grpc(b"plain"), end=True)),
        (INGRESS, response(server) + trailers(server)),
    ])  # fmt: skip
    assert [row[4] for row in sent(frames)] == ["gzip", None]


def test_trailers_only(client, server):
    status = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")]
    frames = deliver([
        *START, (EGRESS, request(client) + data(grpc(b"a"), end=True)),
        (INGRESS, frame(1, 5, 1, server.encode(status))),
    ])  # fmt: skip
    (head,) = [f for f in frames if isinstance(f, ResponseHead)]
    assert ("grpc-status", "5") in head.headers
    assert isinstance(frames[-2], EndFrame)


def test_of_a_large_message_the_prefix_is_kept(client, server):
    payload = bytes(range(256)) * 1024
    pieces = grpc(payload)
    records = [data(pieces[at : at + 16384]) for at in range(0, len(pieces), 16384)]
    kernel = Kernel()
    frames = kernel.batch(*(kernel.record(d, b) for d, b in START), opened=(kernel.opened(),))
    frames += kernel.batch(kernel.record(EGRESS, request(client)))
    for record in records:
        frames += kernel.batch(kernel.record(EGRESS, record))
    frames += kernel.batch(kernel.record(EGRESS, data(grpc(b"next"))))
    assert sent(frames) == [
        ("request", 0, len(payload), payload[: 64 * 1024], None, "cap"),
        ("request", 1, 4, b"next", None, None),
    ]


def test_a_hole_within_a_message_leaves_the_next_one_right(client):
    kernel = Kernel()
    kernel.batch(*(kernel.record(d, b) for d, b in START), opened=(kernel.opened(),))
    whole = request(client) + data(grpc(b"0123456789") + grpc(b"next"))
    at = len(request(reference.Encoder())) + 9 + 5 + 3
    frames = kernel.batch(kernel.record(EGRESS, whole[:at]))
    kernel.lose(EGRESS, 4)
    frames += kernel.batch(kernel.record(EGRESS, whole[at + 4 :]))
    assert sent(frames) == [
        ("request", 0, 10, b"012", None, "gap"), ("request", 1, 4, b"next", None, None),
    ]  # fmt: skip
    assert [f.part for f in frames if isinstance(f, GapFrame)] == ["request.body"]
    assert_exact(kernel.state)


def test_a_hole_over_a_prefix_ends_the_reading_of_that_side_and_of_no_other(client):
    kernel = Kernel()
    kernel.batch(*(kernel.record(d, b) for d, b in START), opened=(kernel.opened(),))
    whole = request(client) + data(grpc(b"0123456789") + grpc(b"next"))
    at = len(request(reference.Encoder())) + 9 + 5 + 3
    frames = kernel.batch(kernel.record(EGRESS, whole[:at]))
    kernel.lose(EGRESS, 9)
    frames += kernel.batch(kernel.record(EGRESS, whole[at + 9 :]))
    frames += kernel.batch(kernel.record(EGRESS, request(client, stream=3)))
    frames += kernel.batch(kernel.record(EGRESS, data(grpc(b"right"), stream=3)))
    assert sent(frames) == [
        ("request", 0, 10, b"012", None, "gap"), ("request", 0, 5, b"right", None, None),
    ]  # fmt: skip


def test_grpc_web_has_its_trailers_in_its_last_message(client, server):
    last = grpc(b"grpc-status: 0\r\ngrpc-message: fine\r\n", 0x80)
    frames = deliver([
        *START,
        (EGRESS, request(client, "application/grpc-web+proto") + data(grpc(b"a"), end=True)),
        (INGRESS, response(server, "application/grpc-web") + data(grpc(b"b") + last, end=True)),
    ])  # fmt: skip
    assert [row[3] for row in sent(frames)] == [b"a", b"b"]
    end = [f for f in frames if isinstance(f, EndFrame)][-1]
    assert end.trailers == (("grpc-status", "0"), ("grpc-message", "fine"))


def test_grpc_web_text_over_http1():
    coded = base64.b64encode(grpc(b"ab")) + base64.b64encode(grpc(b"grpc-status: 0\r\n", 0x80))
    head = "Content-Type: application/grpc-web-text\r\nContent-Length: %d\r\n\r\n"
    asked = base64.b64encode(grpc(b"question"))
    frames = deliver([
        (EGRESS, b"POST /s/M HTTP/1.1\r\n" + (head % len(asked)).encode() + asked),
        (INGRESS, b"HTTP/1.1 200 OK\r\n" + (head % len(coded)).encode() + coded),
    ])  # fmt: skip
    assert [row[3] for row in sent(frames)] == [b"question", b"ab"]
    assert [f.trailers for f in frames if isinstance(f, EndFrame)][-1] == (("grpc-status", "0"),)


@pytest.mark.parametrize("payload", [b"\x07\0\0\0\1a", b"\x80\0\0\0\1a"])
def test_what_is_no_message_is_counted_and_shown_to_nobody(client, payload):
    kernel = Kernel()
    kernel.batch(*(kernel.record(d, b) for d, b in START), opened=(kernel.opened(),))
    frames = kernel.batch(kernel.record(EGRESS, request(client) + data(payload, end=True)))
    assert sent(frames) == []
    assert kernel.state.counters["grpc_malformed"] == 1


def test_an_unfinished_message_is_told_at_its_streams_end(client):
    frames = deliver([*START, (EGRESS, request(client) + data(grpc(b"abc")[:7], end=True))])
    assert sent(frames) == [("request", 0, 3, b"ab", None, "close")]
