"""Published attacks on HTTP: what they cost an observer is bounded, counted, and told as it was.

CVE-2023-44487 (rapid reset), CVE-2024-27316 and its kin (CONTINUATION flood), CVE-2016-6581 (HPACK
bomb), CVE-2019-9512, -9515 (PING and SETTINGS floods), CVE-2019-9518 (empty frames), and request
smuggling as of RFC 9112 §11.2.
"""

from __future__ import annotations

import hpack as reference
import msgspec
import pytest

from services.messages import MalformedFrame, RequestHead, ResetFrame
from services.parse import dialogue
from services.parse.limits import Limits
from tests.support.wire import CONNECTION, EGRESS, INGRESS, Kernel, assert_exact, deliver

LIMITS = Limits()
MOST_STATE = 256 * 1024  # bytes that what is kept of any of these takes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


@pytest.fixture
def kernel():
    kernel = Kernel()
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    kernel.batch(kernel.record(EGRESS, preface), opened=(kernel.opened(),))
    kernel.batch(kernel.record(INGRESS, frame(4, 0, 0)))
    yield kernel
    assert len(msgspec.msgpack.encode(kernel.state)) < MOST_STATE
    assert_exact(kernel.state)


def said(kernel: Kernel, data: bytes) -> list[object]:
    found = []
    for at in range(0, len(data), 16384):
        found += kernel.batch(kernel.record(EGRESS, data[at : at + 16384]))
    return found


def held(kernel: Kernel) -> int:
    return dialogue.weight(kernel.state.table.connections[CONNECTION].dialogue)


GET = [(":method", "GET"), (":path", "/")]


def test_a_flood_of_continuations_holds_one_block_and_no_more(kernel):
    peer = reference.Encoder()
    said(kernel, frame(1, 0, 1, peer.encode(GET)))
    for _ in range(100):
        said(kernel, frame(9, 0, 1, b"\0\x01a\x7d" + b"v" * 125) * 100)
        assert held(kernel) <= LIMITS.head + 16384
    assert kernel.state.counters["malformed_http/2"] == 1
    assert kernel.state.counters["h2_continuations"] == 10_000
    said(kernel, frame(9, 4, 1))
    next_one = frame(1, 5, 3, reference.Encoder().encode(GET))
    (head,) = [f for f in said(kernel, next_one) if isinstance(f, RequestHead)]
    assert (head.stream, head.path) == (3, "/")
    assert_exact(kernel.state)


def test_a_flood_of_empty_continuations_holds_nothing(kernel):
    said(kernel, frame(1, 0, 1, reference.Encoder().encode(GET)) + frame(9, 0, 1) * 10_000)
    assert held(kernel) < 100
    assert kernel.state.counters["h2_continuations"] == 10_000


def test_rapid_reset_is_told_and_leaves_nothing_open(kernel):
    peer = reference.Encoder()
    requests = b"".join(
        frame(1, 5, stream, peer.encode(GET)) + frame(3, 0, stream, bytes(4))
        for stream in range(1, 20_001, 2)
    )
    frames = said(kernel, requests)
    assert len([f for f in frames if isinstance(f, ResetFrame)]) == 10_000
    assert kernel.state.counters["streams_reset"] == 10_000
    streams = kernel.state.table.connections[CONNECTION].dialogue.streams
    assert not streams.open
    assert len(streams.ignored) <= 64


def test_a_header_bomb_gives_no_more_than_a_head_may_have(kernel):
    insert = b"\x40\x01x" + b"\x7f" + bytes((0x80 + (3000 - 127) % 128, (3000 - 127) // 128))
    block = insert + b"v" * 3000 + b"\xbe" * 15_000
    frames = said(kernel, frame(1, 5, 1, b"\x82\x84" + block[:16000]))
    (head,) = [f for f in frames if isinstance(f, RequestHead)]
    assert sum(len(n) + len(v) for n, v in head.headers) <= LIMITS.head
    assert [f.reason for f in frames if isinstance(f, MalformedFrame)] == ["header list too large"]


@pytest.mark.parametrize(
    "flood",
    [frame(4, 0, 0, b"\0\1\0\0\x10\0"), frame(6, 0, 0, bytes(8)), frame(8, 0, 0, b"\0\0\0\1"),
     frame(2, 0, 1, bytes(5))],
    ids=["settings", "ping", "window", "priority"],
)  # fmt: skip
def test_a_flood_of_control_frames_is_counted_and_kept_nowhere(kernel, flood):
    before = kernel.state.counters.get("h2_control_frames", 0)
    assert said(kernel, flood * 20_000) == []
    assert kernel.state.counters["h2_control_frames"] == before + 20_000
    assert held(kernel) < 100
    assert_exact(kernel.state)


def test_a_flood_of_empty_data_frames_gives_one_frame_a_record(kernel):
    said(kernel, frame(1, 4, 1, reference.Encoder().encode(GET)))
    frames = said(kernel, frame(0, 0, 1) * 20_000)
    assert len(frames) < 100


def test_streams_that_are_never_ended_are_bounded(kernel):
    peer = reference.Encoder()
    said(kernel, b"".join(frame(1, 4, n, peer.encode(GET)) for n in range(1, 8001, 2)))
    streams = kernel.state.table.connections[CONNECTION].dialogue.streams
    assert len(streams.open) == LIMITS.streams
    assert kernel.state.counters["streams_dropped"] == 3000


POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "anomaly"),
    [
        (b"Content-Length: 37\r\nTransfer-Encoding: chunked\r\n",
         "content-length and transfer-encoding"),
        (b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
         "repeated transfer-encoding"),
        (b"Transfer-Encoding: chunked\r\nHost: b\r\n", "repeated host"),
        (b"Transfer-Encoding: chunked, chunked\r\n", "repeated transfer-encoding"),
        (b"Transfer-Encoding : chunked\r\n", "whitespace before a colon"),
        (b"X: a\rContent-Length: 9\r\nTransfer-Encoding: chunked\r\n", "bare CR"),
        (b"X: a : b\r\nTransfer-Encoding:\tCHUNKED\r\n", ""),
        (b"Transfer-Encoding: gzip,\r\n chunked\r\n", ""),
    ],
)  # fmt: skip
def test_smuggling_is_read_by_the_rules_and_marked(headers, anomaly):
    """Chunked wins, so what follows the last chunk is a request of its own: not hidden."""
    frames = deliver([(EGRESS, POST + headers + b"\r\n0\r\n\r\n" + SMUGGLED)])
    heads = [(f.path, f.anomaly) for f in frames if isinstance(f, RequestHead)]
    assert heads == [("/", anomaly), ("/admin", "")]


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: +3\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b'Transfer-Encoding: "chunked"\r\n',
        b"Transfer-Encoding\0: chunked\r\n",
        b"Transfer-Encoding chunked\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: 1_0\r\n",
        b"Content-Length: 5\0\r\n",
        b"Content-Length: \xc2\xb2\r\n",
        b"Content-Length: 99999999999999999999\r\n",
    ],
)
def test_what_has_no_one_meaning_is_malformed_and_ends_the_reading(headers):
    frames = deliver([(EGRESS, POST + headers + b"\r\n0\r\n\r\n" + SMUGGLED)])
    assert not [f for f in frames if isinstance(f, RequestHead)]
    assert [f.protocol for f in frames if isinstance(f, MalformedFrame)] == ["http/1.1"]


@pytest.mark.parametrize(
    "size", [b"-1", b"0x5", b"+5", b"5 5", b"5\x0b", b"ffffffffffffffff1", b"", b"\xd9\xa5"]
)
def test_a_chunk_of_no_size_ends_the_reading(size):
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n" + size
    frames = deliver([(EGRESS, chunked + b"\r\nabcde\r\n0\r\n\r\n" + SMUGGLED)])
    assert [f.path for f in frames if isinstance(f, RequestHead)] == ["/"]
    assert [f.reason for f in frames if isinstance(f, MalformedFrame)] == ["no chunk size"]


def test_a_chunk_that_is_longer_than_it_says_ends_the_reading():
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefg\r\n0\r\n\r\n"
    frames = deliver([(EGRESS, chunked + SMUGGLED)])
    assert [f.path for f in frames if isinstance(f, RequestHead)] == ["/"]
    assert [f.reason for f in frames if isinstance(f, MalformedFrame)] == ["no end of chunk"]
