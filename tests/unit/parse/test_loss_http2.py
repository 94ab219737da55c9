"""HTTP/2 under loss: where reading goes on, and that nothing is shifted, invented or joined.

What a hole within a frame does is beside the frames, in test_http2.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import hpack
import pytest

from services.messages import (
    AnyFrame,
    BodyFrame,
    Direction,
    MalformedFrame,
    RequestHead,
    ResponseHead,
)
from tests.support.wire import EGRESS, INGRESS, Kernel, assert_exact

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAMS = 40


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


@pytest.fixture
def kernel() -> Kernel:
    """With a request of stream 1, whose answer is lost from its first byte on."""
    kernel = Kernel()
    kernel.batch(opened=(kernel.opened(),))
    asked = frame(1, 5, 1, hpack.Encoder().encode([(":method", "GET"), (":path", "/")]))
    kernel.batch(kernel.record(EGRESS, PREFACE + frame(4, 0, 0) + asked))
    kernel.batch(kernel.record(INGRESS, frame(4, 0, 0)))
    kernel.lose(INGRESS, 100)
    return kernel


def resynchronised(kernel: Kernel, data: bytes) -> bool:
    kernel.batch(kernel.record(INGRESS, data))
    assert_exact(kernel.state)
    return "resynchronised" in kernel.state.counters


CUT = frame(0, 0, 1, bytes(16384))[:16384]


@pytest.mark.parametrize(
    "data",
    [frame(0, 0, 1, b"x"), frame(0, 0, 1, b"x") + CUT, CUT, frame(6, 0, 0, bytes(8)),
     frame(1, 4, 9, b"\x88") + frame(0, 1, 9, b"x"), frame(0, 0, 9_999, b"x") * 2],
    ids=["whole", "whole and cut", "cut, of an open stream", "ping", "another", "far, exact"],
)  # fmt: skip
def test_reading_goes_on_where_a_record_proves_that_a_frame_begins(kernel, data):
    assert resynchronised(kernel, data)


@pytest.mark.parametrize(
    "data",
    [frame(0, 0, 1, b"x" * 9)[1:], frame(0, 0, 3, bytes(16384))[:16384],
     b"\0\0\0\0\x08\x0a\x06apple!", frame(0, 0, 1, b"x") + b"text that is no frame",
     frame(0, 0, 9_999, b"x"), b"some text, of a body"],
    ids=["a byte is missing", "cut, of no open stream", "gRPC's prefix", "one and other bytes",
         "a stream far from all", "text"],
)  # fmt: skip
def test_what_may_be_anything_proves_nothing(kernel, data):
    assert not resynchronised(kernel, data)


@pytest.mark.parametrize("joined", [False, True])
def test_no_head_or_body_is_wrong_whatever_is_lost(joined):
    """Both ends number what they send; nearly all exchanges that are whole are told whole."""
    whole = told = 0
    for seed in range(60):
        frames, lost = lossy(random.Random(seed), joined=joined)
        asked = {f.stream: f for f in frames if isinstance(f, RequestHead)}
        answered = {f.stream: f for f in frames if isinstance(f, ResponseHead)}
        for head in (*asked.values(), *answered.values()):
            assert all(name is not None or value is None for name, value in head.headers), (
                "a value under an unknown name"
            )
            known = dict(head.headers).get("x-id")
            assert known in (None, f"{type(head).__name__[:3]}{head.stream}")
        for body in frames:
            if isinstance(body, BodyFrame):
                assert set(body.data) <= {ord("A") + body.stream % 26}
        assert not [f for f in frames if isinstance(f, MalformedFrame)], seed
        intact = {2 * n + 1 for n in range(STREAMS)} - lost
        whole, told = whole + len(intact), told + len(intact & asked.keys() & answered.keys())
    assert told > 0.94 * whole


def lossy(source: random.Random, *, joined: bool) -> tuple[list[AnyFrame], set[int]]:
    """The frames, and of which streams bytes are lost."""
    kernel = Kernel()
    frames = kernel.batch(opened=(kernel.opened(joined=joined),))
    if not joined:
        kernel.batch(kernel.record(EGRESS, PREFACE + frame(4, 0, 0)))
        kernel.batch(kernel.record(INGRESS, frame(4, 0, 0)))
    lost: set[int] = set()
    burst = 0
    for direction, stream, data in conversation(source, joined=joined):
        if not burst and source.random() < 0.06:
            burst = source.randint(1, 5)
        start, end = sorted(source.choices(range(len(data) + 1), k=2)) if burst else (0, 0)
        if burst and source.random() < 0.6:
            start, end = 0, len(data)
        burst -= bool(burst)
        if start:
            frames += kernel.batch(kernel.record(direction, data[:start]))
        if start < end:
            lost.add(stream)
            kernel.lose(direction, end - start)
        if end < len(data):
            frames += kernel.batch(kernel.record(direction, data[end:]))
    frames += kernel.batch(closed=(kernel.closed(),))
    assert_exact(kernel.state)
    return frames, lost


def conversation(
    source: random.Random, *, joined: bool
) -> Iterator[tuple[Direction, int, bytes]]:  # fmt: skip
    client, server = hpack.Encoder(), hpack.Encoder()
    if joined:  # what was said before
        for peer in (client, server):
            peer.encode([(f"x-old{n}", f"secret{n}") for n in range(5)])
    open_streams: list[int] = []
    for stream in range(1, 2 * STREAMS, 2):
        body = bytes((ord("A") + stream % 26,)) * source.randint(1, 200)
        old = [(f"x-old{n}", f"secret{n}") for n in range(5) if joined and source.random() < 0.3]
        fields = [(":method", "POST"), (":path", f"/{stream}"), ("x-id", f"Req{stream}"),
                  ("x-common", f"c{source.randint(0, 5)}"), *old]  # fmt: skip
        asked = frame(1, 4, stream, client.encode(fields))
        yield EGRESS, stream, asked + frame(0, 1, stream, body)
        open_streams.append(stream)
        if source.random() < 0.5:
            source.shuffle(open_streams)
            for number in open_streams:
                answer = [(":status", "200"), ("x-id", f"Res{number}"), *old]
                content = bytes((ord("A") + number % 26,)) * source.randint(1, 200)
                yield INGRESS, number, frame(1, 4, number, server.encode(answer))
                yield INGRESS, number, frame(0, 0, number, content)
                yield INGRESS, number, frame(0, 1, number, content[:3])
            open_streams = []
