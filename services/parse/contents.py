"""What the content bytes of one side of an exchange are: a body, gRPC, a WebSocket, a tunnel.

One door for both versions of HTTP, which only say which bytes are content. Knows what is kept of a
body: the first bytes, as many again every few seconds of one that lasts, all of one that streams.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from msgspec import Struct

from services.messages import Direction, EndFrame, GapFrame, Headers, Role, Side
from services.parse import grpc, websocket
from services.parse.emission import Emission
from services.parse.grpc import Grpc, Where
from services.parse.limits import SECOND
from services.parse.reassembly import Hole
from services.parse.websocket_messages import Half as WebSocketHalf

_AGAIN = 5 * SECOND
_EVERYTHING = 1 << 62
_STREAMING = frozenset({
    "text/event-stream", "application/x-ndjson", "application/stream+json",
    "application/json-seq", "multipart/x-mixed-replace",
})  # fmt: skip


class Tunnel(Struct, tag="tunnel"):
    """Bytes of another protocol: counted."""

    direction: Direction


class Body(Struct, gc=False):
    """One side's content: `size` bytes so far, of which those below `kept` are passed on. `torn`: a
    loss may have taken some, nobody knows how many."""

    size: int = 0
    kept: int = 0
    since_ns: int = 0
    torn: bool = False
    content: Grpc | WebSocketHalf | Tunnel | None = None


def begin(body: Body, media: str | None, headers: Headers, out: Emission) -> None:
    """With the head: what it says of the content."""
    body.size, body.torn, body.content = 0, False, None
    body.kept, body.since_ns = out.body_limit, out.time_ns
    kind = _kind(media) if media else None
    if kind == "stream":
        body.kept = _EVERYTHING
    elif kind:
        body.content = Grpc(kind, value_of(headers, "grpc-encoding"))


def upgrade(body: Body, direction: Direction, stream: int, sender: Role | None) -> None:
    """No HTTP follows: a WebSocket, or without a `sender` anything."""
    body.content = Tunnel(direction) if sender is None else websocket.begin(
        direction, sender, stream
    )  # fmt: skip


def receive(body: Body, stream: int, side: Side, view: memoryview, out: Emission) -> None:
    """Bytes that are counted as parsed already."""
    size = len(view)
    match body.content:
        case None:
            if out.time_ns - body.since_ns >= _AGAIN and body.kept < _EVERYTHING:
                body.kept, body.since_ns = body.size + out.body_limit, out.time_ns
            kept = 0 if body.torn else body.kept
            out.body(stream, side, body.size, view, kept)
        case Grpc() as messages:
            out.body(stream, side, body.size, view, 0)
            grpc.receive(messages, Where(stream, side), view, out)
        case WebSocketHalf() as half:
            out.parsed -= size
            websocket.receive(half, view, out)
            return
        case Tunnel(direction):
            out.parsed -= size
            out.skip(direction, "tunnel", size)
            return
    body.size += size


def gap(body: Body, stream: int, side: Side, hole: Hole, out: Emission) -> None:
    """A hole that is surely within the content, and nothing else."""
    if isinstance(body.content, WebSocketHalf):
        websocket.gap(body.content, hole, out)
        return
    tell(stream, f"{side}.body", body.size, hole, out)
    if isinstance(body.content, Tunnel):
        return
    if isinstance(body.content, Grpc):
        grpc.gap(body.content, Where(stream, side), hole.size(), out)
    body.size += hole.size()


def tear(body: Body, stream: int, side: Side, hole: Hole | None, out: Emission) -> None:
    """A hole, or what could not be read, may have been some of the content, its end, or nothing."""
    if hole is not None:
        tell(stream, f"{side}.body", body.size, hole, out)
        body.size += hole.size()
    body.torn = True
    if isinstance(body.content, Grpc):
        grpc.lose(body.content, Where(stream, side), out)
    elif isinstance(body.content, WebSocketHalf):
        websocket.lose(body.content, out)


def end(body: Body, stream: int, side: Side, trailers: Headers, out: Emission) -> None:
    if isinstance(body.content, Grpc):
        trailers += grpc.end(body.content, Where(stream, side), out)
    elif isinstance(body.content, WebSocketHalf):
        websocket.close(body.content, out)
    out.emit(
        EndFrame(
            connection=out.connection, time_ns=out.time_ns, stream=stream, side=side,
            size=body.size, trailers=trailers, torn=body.torn,
        ),
        out.limits.head * 2 if trailers else 0,
    )  # fmt: skip
    body.content = None


def close(body: Body, stream: int, side: Side, out: Emission) -> None:
    """What carried it is gone: a message in hand is told as far as it came."""
    if isinstance(body.content, Grpc):
        grpc.close(body.content, Where(stream, side), out)
    elif isinstance(body.content, WebSocketHalf):
        websocket.close(body.content, out)


def tell(stream: int | None, part: str, at: int, hole: Hole, out: Emission) -> None:
    for offset, reason, size in hole.parts(at):
        out.emit(
            GapFrame(
                connection=out.connection, time_ns=out.time_ns, stream=stream, part=part,
                offset=offset, bytes=size, reason=reason,
            )
        )  # fmt: skip


def held(body: Body) -> int:
    """Bytes that are neither parsed nor opaque yet."""
    return websocket.held(body.content) if isinstance(body.content, WebSocketHalf) else 0


def weight(body: Body) -> int:
    """What its state takes, about."""
    match body.content:
        case Grpc() as messages:
            return len(messages.data)
        case WebSocketHalf() as half:
            return websocket.weight(half)
    return 0


@lru_cache(maxsize=1024)
def _kind(media: str) -> grpc.Kind | Literal["stream"] | None:
    streams = media.partition(";")[0].strip().lower() in _STREAMING
    return "stream" if streams else grpc.kind_of(media)


def value_of(headers: Headers, name: str) -> str | None:
    for known, value in headers:
        if known == name:
            return value
    return None
