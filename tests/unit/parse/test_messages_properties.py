"""A loss anywhere in WebSocket or gRPC: what is told as whole is what was sent, byte for byte."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.messages import GrpcFrame, WebSocketFrame
from tests.support.strategies import (
    SIZES,
    grpc_transcripts,
    websocket_over_http2_transcripts,
    websocket_transcripts,
)
from tests.support.wire import Kernel, assert_exact, converse, cut_at

Told = tuple[str, str, int | None, bytes]


def _told(frames: list[object]) -> list[tuple[Told, bool]]:
    """(message, whether it is whole)."""
    return [
        ((f.sender, f.kind, f.size, f.data) if isinstance(f, WebSocketFrame)
         else (f.side, str(f.encoding), f.size, f.data), f.truncated_by is None)
        for f in frames
        if isinstance(f, WebSocketFrame | GrpcFrame)
    ]  # fmt: skip


@given(
    websocket_transcripts() | websocket_over_http2_transcripts() | grpc_transcripts(),
    SIZES, st.data(),
)  # fmt: skip
def test_whole_messages_are_the_senders_whatever_is_lost(transcript, sizes, data):
    sent = Counter(m for m, _ in _told(converse(transcript, joined=False, limits=None)))
    kernel = Kernel()
    frames = kernel.batch(opened=(kernel.opened(),))
    for direction, piece in [(d, p) for d, whole in transcript for p in cut_at(whole, sizes)]:
        if data.draw(st.integers(0, 9)) == 0:
            kernel.lose(direction, len(piece))
        else:
            frames += kernel.batch(kernel.record(direction, piece))
    frames += kernel.batch(closed=(kernel.closed(),))
    assert_exact(kernel.state)
    whole = Counter(message for message, complete in _told(frames) if complete)
    assert whole <= sent
