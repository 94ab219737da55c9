"""What becomes of a connection or stream that leaves HTTP: tunnels, WebSocket over HTTP/2, others.

WebSocket over HTTP/1.1 is test_websocket.py's.
"""

from __future__ import annotations

import hpack as reference
import pytest

from services.messages import (
    EndFrame,
    OpaqueFrame,
    RequestHead,
    ResetFrame,
    ResponseHead,
    WebSocketFrame,
)
from services.parse.limits import Limits
from tests.support.messages import CLOSE, MASK, TEXT, websocket
from tests.support.wire import EGRESS, INGRESS, Kernel, Transcript, deliver

CONNECT = b"CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
GET = b"GET /inner HTTP/1.1\r\nHost: b\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


START2: Transcript = [(EGRESS, PREFACE + frame(4, 0, 0)), (INGRESS, frame(4, 0, 0))]


def heads(frames: list[object]) -> list[tuple[int, str | None]]:
    return [(f.stream, f.path) for f in frames if isinstance(f, RequestHead)]


def opaque(frames: list[object]) -> set[tuple[str, str, int]]:
    return {(f.direction.name, f.protocol, f.bytes) for f in frames if isinstance(f, OpaqueFrame)}


def test_http_in_a_tunnel_is_read_under_numbers_of_its_own():
    frames = deliver([(EGRESS, CONNECT), (INGRESS, ESTABLISHED), (EGRESS, GET), (INGRESS, OK)])
    assert heads(frames) == [(1, "b:80"), (2, "/inner")]
    ends = [(f.stream, f.side, f.size) for f in frames if isinstance(f, EndFrame)]
    assert ends == [(1, "request", 0), (1, "response", 0), (2, "request", 0), (2, "response", 2)]


def test_the_tunnels_first_bytes_may_come_before_the_proxys_answer():
    frames = deliver([(EGRESS, CONNECT + GET), (INGRESS, ESTABLISHED + OK)])
    assert heads(frames) == [(1, "b:80"), (2, "/inner")]
    assert len([f for f in frames if isinstance(f, ResponseHead)]) == 2


def test_http2_in_a_tunnel_keeps_who_began_a_stream():
    block = reference.Encoder().encode([(":method", "GET"), (":path", "/inner")])
    frames = deliver([
        (EGRESS, CONNECT), (INGRESS, ESTABLISHED),
        (EGRESS, PREFACE + frame(4, 0, 0) + frame(1, 5, 1, block)),
    ])  # fmt: skip
    assert heads(frames) == [(1, "b:80"), (3, "/inner")]


def test_tls_in_a_tunnel_is_named():
    hello = b"\x16\x03\x01\x00\xc8\x01" + bytes(199)
    frames = deliver([
        (EGRESS, CONNECT), (INGRESS, ESTABLISHED), (EGRESS, hello), (INGRESS, b"\x16\x03\x03ab"),
    ])  # fmt: skip
    assert opaque(frames) == {("EGRESS", "tls", 205), ("INGRESS", "tls", 5)}


def test_a_refused_tunnel_goes_on_as_http():
    frames = deliver([
        (EGRESS, CONNECT + GET),
        (INGRESS, b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
        (INGRESS, OK),
    ])  # fmt: skip
    assert heads(frames) == [(1, "b:80"), (2, "/inner")]
    assert len([f for f in frames if isinstance(f, EndFrame)]) == 4


def test_h2c_goes_on_as_http2():
    block = reference.Encoder().encode([(":method", "GET"), (":path", "/3")])
    frames = deliver([
        (EGRESS, b"GET /1 HTTP/1.1\r\nUpgrade: h2c\r\n\r\n"),
        (INGRESS, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"),
        (EGRESS, PREFACE + frame(4, 0, 0) + frame(1, 5, 3, block)),
    ])  # fmt: skip
    assert heads(frames) == [(1, "/1"), (5, "/3")]


def test_what_waits_for_an_answer_is_bounded():
    kernel = Kernel()
    kernel.state.limits = Limits(early_bytes=100)
    kernel.batch(kernel.record(EGRESS, CONNECT), opened=(kernel.opened(),))
    kernel.batch(kernel.record(EGRESS, bytes(200)))
    assert kernel.state.counters["upgrades_given_up"] == 1


@pytest.fixture
def client():
    return reference.Encoder()


@pytest.fixture
def server():
    return reference.Encoder()


def connect(peer: reference.Encoder, *more: tuple[str, str]) -> bytes:
    fields = [(":method", "CONNECT"), (":authority", "a"), *more]
    return frame(1, 4, 1, peer.encode(fields))


EXTENDED = ((":protocol", "websocket"), (":scheme", "https"), (":path", "/chat"))


def test_a_websocket_over_http2(client, server):
    frames = deliver([
        *START2, (EGRESS, connect(client, *EXTENDED)),
        (INGRESS, frame(1, 4, 1, server.encode([(":status", "200")]))),
        (EGRESS, frame(0, 0, 1, websocket(TEXT, b"hel", mask=MASK)[:4])),
        (EGRESS, frame(0, 0, 1, websocket(TEXT, b"hel", mask=MASK)[4:])),
        (INGRESS, frame(0, 1, 1, websocket(TEXT, b"lo") + websocket(CLOSE, b"\x03\xe9"))),
        (EGRESS, frame(0, 1, 1, websocket(CLOSE, b"\x03\xe9", mask=MASK))),
    ])  # fmt: skip
    said = [(f.sender, f.data, f.close_code) for f in frames if isinstance(f, WebSocketFrame)]
    assert said == [
        ("client", b"hel", None), ("server", b"lo", None),
        ("server", b"", 1001), ("client", b"", 1001),
    ]  # fmt: skip
    (head,) = [f for f in frames if isinstance(f, ResponseHead)]
    assert head.upgraded == "websocket"
    ends = [(f.side, f.size) for f in frames if isinstance(f, EndFrame)]
    assert ends == [("request", 0), ("response", 0)]


def test_a_refused_websocket_over_http2_has_a_body(client, server):
    frames = deliver([
        *START2, (EGRESS, connect(client, *EXTENDED)),
        (INGRESS, frame(1, 4, 1, server.encode([(":status", "403")])) + frame(0, 1, 1, b"no")),
    ])  # fmt: skip
    assert [(f.side, f.size) for f in frames if isinstance(f, EndFrame)][-1] == ("response", 2)


def test_a_tunnel_in_a_stream_is_counted(client, server):
    frames = deliver([
        *START2, (EGRESS, connect(client)),
        (INGRESS, frame(1, 4, 1, server.encode([(":status", "200")]))),
        (EGRESS, frame(0, 0, 1, b"12345")), (INGRESS, frame(0, 0, 1, b"123")),
        (EGRESS, frame(3, 0, 1, bytes(4))),
    ])  # fmt: skip
    assert {("EGRESS", "tunnel", 5), ("INGRESS", "tunnel", 3)} <= opaque(frames)
    assert isinstance(frames[-4], ResetFrame) or any(isinstance(f, ResetFrame) for f in frames)


@pytest.mark.parametrize(("code", "closed"), [(0, True), (8, True), (2, False)])
def test_a_websocket_over_http2_that_was_closed_is_ended_by_a_reset(client, server, code, closed):
    """As browsers end the stream once the close frames are exchanged; an error is still told."""
    frames = deliver([
        *START2, (EGRESS, connect(client, *EXTENDED)),
        (INGRESS, frame(1, 4, 1, server.encode([(":status", "200")]))),
        (INGRESS, frame(0, 0, 1, websocket(CLOSE, b"\x03\xe9"))),
        (EGRESS, frame(0, 0, 1, websocket(CLOSE, b"\x03\xe9", mask=MASK))),
        (EGRESS, frame(3, 0, 1, code.to_bytes(4))),
    ])  # fmt: skip
    ends = [f.side for f in frames if isinstance(f, EndFrame)]
    assert ends == (["request", "response"] if closed else ["request"])
    assert bool([f for f in frames if isinstance(f, ResetFrame)]) != closed


def test_a_websocket_over_http2_that_was_not_closed_is_reset(client, server):
    frames = deliver([
        *START2, (EGRESS, connect(client, *EXTENDED)),
        (INGRESS, frame(1, 4, 1, server.encode([(":status", "200")]))),
        (EGRESS, frame(3, 0, 1, (8).to_bytes(4))),
    ])  # fmt: skip
    assert [f.code for f in frames if isinstance(f, ResetFrame)] == [8]
