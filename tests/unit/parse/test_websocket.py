"""WebSocket after an upgrade: frames made by hand, delivered whole, byte by byte and in pieces.

Loss and joining are here too; frames over HTTP/2 are test_upgrades.py's.
"""

from __future__ import annotations

import random

import pytest

from services.messages import EndFrame, GapFrame, InterimHead, MalformedFrame, WebSocketFrame
from services.parse import shard
from services.parse.limits import Limits
from tests.support.messages import (
    BINARY,
    CLOSE,
    MASK,
    PING,
    PONG,
    TEXT,
    Deflater,
    websocket,
)
from tests.support.wire import EGRESS, INGRESS, Kernel, assert_exact, converse, deliver, restored

UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"
ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n"
START = [(EGRESS, UPGRADE), (INGRESS, ACCEPT)]


def client(opcode: int, payload: bytes, **options: bool) -> tuple[object, bytes]:
    return EGRESS, websocket(opcode, payload, mask=MASK, **options)


def server(opcode: int, payload: bytes, **options: bool) -> tuple[object, bytes]:
    return INGRESS, websocket(opcode, payload, **options)


def said(frames: list[object]) -> list[tuple[object, ...]]:
    return [
        (f.sender, f.kind, f.size, f.data, f.truncated_by)
        for f in frames
        if isinstance(f, WebSocketFrame)
    ]


def test_messages_of_both_sides_and_the_closing_handshake():
    frames = deliver([
        *START,
        client(TEXT, "grüße".encode()), server(BINARY, b"\0\1"), client(PING, b"p"),
        server(PONG, b"p"), client(CLOSE, b"\x03\xe8bye"), server(CLOSE, b"\x03\xe8"),
    ])  # fmt: skip
    assert said(frames) == [
        ("client", "text", 7, "grüße".encode(), None),
        ("server", "binary", 2, b"\0\1", None),
        ("client", "ping", 1, b"p", None),
        ("server", "pong", 1, b"p", None),
        ("client", "close", 3, b"bye", None),
        ("server", "close", 0, b"", None),
    ]
    codes = [f.close_code for f in frames if isinstance(f, WebSocketFrame)]
    assert codes == [None] * 4 + [1000, 1000]
    (interim,) = [f for f in frames if isinstance(f, InterimHead)]
    assert (interim.status, interim.upgraded) == (101, "websocket")
    ends = [(f.side, f.size, f.stream) for f in frames if isinstance(f, EndFrame)]
    assert ends == [("request", 0, 1), ("response", 0, 1)]
    assert isinstance(frames[-2], EndFrame)


def test_a_message_may_come_with_the_answer():
    frames = deliver([START[0], (INGRESS, ACCEPT + server(TEXT, b"hello")[1])])
    assert said(frames) == [("server", "text", 5, b"hello", None)]


def test_what_comes_before_the_answer_is_held_until_it_tells():
    """As when the two directions arrive in two batches."""
    kernel = Kernel()
    frames = kernel.batch(kernel.record(EGRESS, UPGRADE), opened=(kernel.opened(),))
    frames += kernel.batch(kernel.record(EGRESS, client(TEXT, b"early")[1]))
    frames += kernel.batch(kernel.record(INGRESS, ACCEPT))
    assert said(frames) == [("client", "text", 5, b"early", None)]
    assert_exact(kernel.state)


def test_a_refused_upgrade_goes_on_as_http():
    frames = deliver([
        (EGRESS, UPGRADE + b"GET /2 HTTP/1.1\r\n\r\n"),
        (INGRESS, b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"),
        (INGRESS, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ])  # fmt: skip
    assert [(f.side, f.stream) for f in frames if isinstance(f, EndFrame)] == [
        ("request", 1), ("response", 1), ("request", 2), ("response", 2),
    ]  # fmt: skip


def test_fragments_are_joined_around_control_frames():
    frames = deliver([
        *START,
        client(TEXT, b"he", fin=False), client(PING, b""), client(0, b"l", fin=False),
        client(0, b"lo"),
    ])  # fmt: skip
    assert said(frames) == [
        ("client", "ping", 0, b"", None), ("client", "text", 5, b"hello", None),
    ]  # fmt: skip


@pytest.mark.parametrize("takeover", [True, False])
def test_compressed_messages_are_inflated(takeover):
    deflater = Deflater(takeover=takeover)
    texts = [b"the same words", b"the same words again", b"", b"and the same words"]
    frames = deliver([
        *START, *(server(TEXT, deflater.message(text), rsv1=True) for text in texts),
    ])  # fmt: skip
    assert said(frames) == [("server", "text", len(text), text, None) for text in texts]
    assert all(f.compressed for f in frames if isinstance(f, WebSocketFrame))


def test_fragments_of_a_compressed_message_are_inflated_as_one():
    coded = Deflater().message(b"abcabcabcabc")
    frames = deliver([
        *START, server(TEXT, coded[:3], rsv1=True, fin=False), server(0, coded[3:]),
    ])  # fmt: skip
    assert said(frames) == [("server", "text", 12, b"abcabcabcabc", None)]


@pytest.mark.parametrize("compressed", [False, True])
def test_of_a_large_message_the_prefix_is_kept_and_its_size_is_exact(compressed):
    data = random.Random(1).randbytes(5_000_000)
    deflater = Deflater()
    message = deflater.message(data) if compressed else data
    after = deflater.message(data[-100:]) if compressed else data[-100:]
    sent = websocket(BINARY, message, rsv1=compressed) + websocket(BINARY, after, rsv1=compressed)
    pieces = [sent[at : at + 16384] for at in range(0, len(sent), 16384)]
    frames = converse([*START, (INGRESS, pieces)], joined=False, limits=None)
    (first, second) = [f for f in frames if isinstance(f, WebSocketFrame)]
    assert (first.size, first.truncated_by) == (len(data), "cap")
    assert first.data == data[: 64 * 1024]
    assert (second.size, second.data) == (100, data[-100:])


def test_a_bomb_is_told_without_its_size_and_the_next_message_needs_no_context():
    limits = Limits(inflated=1000)
    fresh = Deflater(takeover=False)
    frames = deliver(
        [*START, server(TEXT, fresh.message(bytes(5000)), rsv1=True),
         server(TEXT, fresh.message(b"next"), rsv1=True)],
        limits=limits,
    )  # fmt: skip
    assert said(frames) == [
        ("server", "text", None, b"", "bomb"), ("server", "text", 4, b"next", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (websocket(TEXT, b"a"), "unmasked client frame"),
        (websocket(3, b"a", mask=MASK), "no frame header"),
        (websocket(PING, b"a" * 126, mask=MASK), "no frame header"),
        (websocket(PING, b"a", mask=MASK, fin=False), "no frame header"),
        (b"\x91\x80", "no frame header"),
        (b"\x81\xfe\0\x05" + MASK, "no frame header"),
        (websocket(TEXT, b"a", mask=MASK, fin=False) * 2, "message within a message"),
    ],
)
def test_what_breaks_the_protocol_is_told(data, reason):
    frames = converse([*START, (EGRESS, data)], joined=False, limits=None)
    (told,) = [f for f in frames if isinstance(f, MalformedFrame)]
    assert (told.reason, told.protocol, told.stream) == (reason, "websocket", 1)


def test_an_unfinished_message_is_told_when_the_connection_ends():
    frames = deliver([*START, client(TEXT, b"unfin", fin=False)])
    assert said(frames) == [("client", "text", None, b"unfin", "close")]
    assert [f.side for f in frames if isinstance(f, EndFrame)] == ["request"]


def started() -> Kernel:
    kernel = Kernel()
    kernel.batch(opened=(kernel.opened(),))
    for direction, data in START:
        kernel.batch(kernel.record(direction, data))
    return kernel


def test_a_loss_within_a_message_is_only_a_hole_in_it():
    kernel = started()
    whole = websocket(TEXT, b"0123456789")
    frames = kernel.batch(kernel.record(INGRESS, whole[:5]))
    kernel.lose(INGRESS, 4)
    frames += kernel.batch(kernel.record(INGRESS, whole[9:] + websocket(TEXT, b"next")))
    assert said(frames) == [
        ("server", "text", 10, b"012", "gap"), ("server", "text", 4, b"next", None),
    ]  # fmt: skip
    (gap,) = [f for f in frames if isinstance(f, GapFrame)]
    assert (gap.stream, gap.part, gap.offset, gap.bytes) == (1, "response.body", 5, 4)
    assert_exact(kernel.state)


def test_after_a_loss_frames_are_believed_where_two_fill_records():
    kernel = started()
    frames = kernel.batch(kernel.record(EGRESS, websocket(TEXT, b"begun", mask=MASK)[:8]))
    kernel.lose(EGRESS, 100)
    frames += kernel.batch(kernel.record(EGRESS, b"the rest of something"))
    frames += kernel.batch(kernel.record(EGRESS, websocket(TEXT, b"one", mask=MASK)))
    assert said(frames) == [("client", "text", None, b"be", "gap")]
    frames = kernel.batch(kernel.record(EGRESS, websocket(TEXT, b"two", mask=MASK)))
    assert said(frames) == [
        ("client", "text", 3, b"one", None), ("client", "text", 3, b"two", None),
    ]  # fmt: skip
    assert_exact(kernel.state)


def test_after_a_loss_what_refers_to_it_is_not_shown():
    kernel, deflater = started(), Deflater()
    texts = (b"a secret phrase", b"a secret phrase", b"new words", b"new words")
    coded = [websocket(TEXT, deflater.message(text), rsv1=True) for text in texts]
    kernel.lose(INGRESS, len(coded[0]))
    frames = [frame for data in coded[1:] for frame in kernel.batch(kernel.record(INGRESS, data))]
    assert said(frames) == [
        ("server", "text", None, b"", "context"),
        ("server", "text", 9, b"new words", None),
        ("server", "text", 9, b"new words", None),
    ]


def test_joined_in_the_middle_masks_tell_who_is_who():
    kernel = Kernel()
    frames = kernel.batch(opened=(kernel.opened(joined=True),))
    for direction, data in (
        (EGRESS, b"something"), server(TEXT, b"one"), server(TEXT, b"two"),
        client(TEXT, b"three"), client(TEXT, b"four"),
    ):  # fmt: skip
        frames += kernel.batch(kernel.record(direction, data))
    assert said(frames) == [
        ("server", "text", 3, b"one", None), ("server", "text", 3, b"two", None),
        ("client", "text", 5, b"three", None), ("client", "text", 4, b"four", None),
    ]  # fmt: skip
    assert_exact(kernel.state)


def test_restoring_the_state_in_the_middle_of_compressed_messages_changes_nothing():
    deflater, source = Deflater(), random.Random(2)
    words = [source.randbytes(source.randint(2, 9)) for _ in range(50)]
    texts = [b" ".join(source.choices(words, k=k)) for k in (30, 20_000, 40)]
    sent = b"".join(websocket(BINARY, deflater.message(t), rsv1=True) for t in texts)
    kernel, frames = started(), []
    for at in range(0, len(sent), 997):
        frames += kernel.batch(kernel.record(INGRESS, sent[at : at + 997]))
        kernel.state = restored(kernel.state)
    assert [(size, data) for _, _, size, data, _ in said(frames)] == [
        (len(text), text[: 64 * 1024]) for text in texts
    ]
    assert shard.ledger(kernel.state).in_flight == 0
