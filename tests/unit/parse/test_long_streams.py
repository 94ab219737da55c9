"""Streams that stay open for hours: what parse keeps of them does not grow with their age."""

from __future__ import annotations

import hpack as reference
import msgspec
import pytest

from services.parse.shard import ShardState
from tests.support.messages import MASK, TEXT, Deflater, grpc, websocket
from tests.support.wire import EGRESS, INGRESS, Kernel, assert_exact


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def http2(*fields: tuple[str, str]) -> bytes:
    return frame(1, 4, 1, reference.Encoder().encode(fields))


START2 = (EGRESS, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
GET = (EGRESS, b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
UPGRADE = [
    (EGRESS, b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
    (INGRESS, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
]
DEFLATER = Deflater()
STREAMS = {
    "sse": (
        [GET, (INGRESS, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")],
        lambda n: (INGRESS, b"data: %d\n\n" % n * 20),
    ),
    "chunks": (
        [GET, (INGRESS, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")],
        lambda n: (INGRESS, b"8\r\n%08d\r\n" % n),
    ),
    "grpc": (
        [START2, (EGRESS, http2((":method", "POST"), (":path", "/s/M"),
                                ("content-type", "application/grpc")))],
        lambda n: (EGRESS, frame(0, 0, 1, grpc(b"%08d" % n * 20))),
    ),
    "websocket": (UPGRADE, lambda n: (EGRESS, websocket(TEXT, b"%08d" % n * 20, mask=MASK))),
    "compressed websocket": (
        UPGRADE,
        lambda n: (INGRESS, websocket(TEXT, DEFLATER.message(b"%08d" % n * 20), rsv1=True)),
    ),
}  # fmt: skip


def size(state: ShardState) -> int:
    return len(msgspec.msgpack.encode(state))


@pytest.mark.parametrize("name", STREAMS)
def test_what_is_kept_of_a_stream_does_not_grow_with_its_age(name):
    start, said = STREAMS[name]
    kernel = Kernel()
    kernel.batch(opened=(kernel.opened(),))
    for direction, data in start:
        kernel.batch(kernel.record(direction, data))
    sizes = []
    for n in range(3000):
        frames = kernel.batch(kernel.record(*said(n)))
        assert frames, "what comes in goes out"
        if n % 1000 == 999:
            sizes.append(size(kernel.state))
    assert sizes[-1] < 64 * 1024
    assert sizes[-1] - sizes[0] < 100
    assert_exact(kernel.state)
