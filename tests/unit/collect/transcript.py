"""Builders of frames: what parse would say of an exchange, side by side."""

from __future__ import annotations

from services.collect.pairing import receive
from services.collect.state import Limits, ShardState
from services.messages import (
    AnyFrame,
    BodyFrame,
    CloseFrame,
    Direction,
    EndFrame,
    FrameBatch,
    GapFrame,
    GrpcFrame,
    Headers,
    InterimHead,
    OpenFrame,
    Protocol,
    RequestHead,
    ResetFrame,
    ResponseHead,
    Role,
    Side,
    Source,
    TickFrame,
    WebSocketFrame,
    WebSocketType,
    Witness,
)

MS = 1_000_000
SECOND = 1000 * MS
NOON = 1_768_212_000 * SECOND  # 2026-01-12T10:00:00Z
SOURCE = Source(
    node="n1", namespace="shop", pod="cart-5d9", container="app", workload="cart", pid=4242,
    process="python3", tls="openssl 3.0.17",
)  # fmt: skip
NODE = "n1"


def opened(connection: int = 1, **more: object) -> OpenFrame:
    return OpenFrame(connection=connection, time_ns=NOON, source=SOURCE, **more)


def request_head(
    stream: int = 1,
    at: int = 0,
    connection: int = 1,
    headers: Headers = (),
    **more: object,
) -> RequestHead:
    said: dict = {
        "protocol": "http/1.1",
        "direction": Direction.EGRESS,
        "method": "GET",
        "scheme": "https",
        "authority": "api.example.com",
        "path": "/",
        **more,
    }
    return RequestHead(
        connection=connection, time_ns=NOON + at, stream=stream, headers=headers, **said
    )


def response_head(
    stream: int = 1,
    at: int = 0,
    connection: int = 1,
    headers: Headers = (),
    **more: object,
) -> ResponseHead:
    said: dict = {
        "protocol": "http/1.1",
        "direction": Direction.INGRESS,
        "status": 200,
        **more,
    }
    return ResponseHead(
        connection=connection, time_ns=NOON + at, stream=stream, headers=headers, **said
    )


def body(
    data: bytes,
    side: Side = "response",
    offset: int = 0,
    stream: int = 1,
    connection: int = 1,
    at: int = 0,
    skipped: int = 0,
) -> BodyFrame:
    """`skipped` more bytes behind `data` are only counted."""
    return BodyFrame(
        connection=connection, time_ns=NOON + at, stream=stream, side=side, offset=offset,
        size=len(data) + skipped, data=data,
    )  # fmt: skip


def grpc_message(
    data: bytes, side: Side = "response", index: int = 0, at: int = 0, stream: int = 1,
    **more: object,
) -> GrpcFrame:  # fmt: skip
    said: dict = {"size": len(data), **more}
    return GrpcFrame(
        connection=1, time_ns=NOON + at, stream=stream, side=side, index=index, data=data, **said
    )


def websocket_message(
    data: bytes, kind: WebSocketType = "text", sender: Role = "server", at: int = 0,
    **more: object,
) -> WebSocketFrame:  # fmt: skip
    said: dict = {"size": len(data), **more}
    return WebSocketFrame(
        connection=1, time_ns=NOON + at, stream=1, sender=sender, kind=kind, data=data, **said
    )


def upgraded(at: int = 0) -> list[AnyFrame]:
    """A request, and the answer that makes it a WebSocket."""
    switch = InterimHead(
        connection=1, time_ns=NOON + at, stream=1, status=101, headers=(), upgraded="websocket"
    )
    return [request_head(path="/chat"), end("request"), switch]


def end(
    side: Side, size: int = 0, stream: int = 1, at: int = 0, connection: int = 1,
    trailers: Headers = (),
) -> EndFrame:  # fmt: skip
    return EndFrame(
        connection=connection, time_ns=NOON + at, stream=stream, side=side, size=size,
        trailers=trailers,
    )  # fmt: skip


def gap(part: str, size: int = 10, stream: int | None = 1, offset: int = 0) -> GapFrame:
    return GapFrame(
        connection=1, time_ns=NOON, stream=stream, part=part, offset=offset, bytes=size,
        reason="ring_full",
    )  # fmt: skip


def reset(
    code: int, stream: int = 1, direction: Direction = Direction.INGRESS
) -> ResetFrame:  # fmt: skip
    return ResetFrame(
        connection=1, time_ns=NOON, stream=stream, code=code, direction=direction
    )  # fmt: skip


def closed(reason: str = "freed", connection: int = 1) -> CloseFrame:
    return CloseFrame(connection=connection, time_ns=NOON, reason=reason)


def tick(at: int = 0, epoch: int = 1, counter: int = 1, **more: object) -> TickFrame:
    return TickFrame(
        connection=0, time_ns=NOON + at, node=NODE, epoch=epoch, counter=counter, **more
    )


def request(
    stream: int = 1, data: bytes = b"", connection: int = 1, protocol: Protocol = "http/1.1",
    headers: Headers = (),
) -> list[AnyFrame]:  # fmt: skip
    middle = [body(data, "request", 0, stream, connection)] if data else []
    return [
        request_head(stream, 0, connection, headers, protocol=protocol),
        *middle,
        end("request", len(data), stream, 0, connection),
    ]


def response(
    stream: int = 1, data: bytes = b"", connection: int = 1, protocol: Protocol = "http/1.1",
    headers: Headers = (),
) -> list[AnyFrame]:  # fmt: skip
    middle = [body(data, "response", 0, stream, connection)] if data else []
    return [
        response_head(stream, 0, connection, headers, protocol=protocol),
        *middle,
        end("response", len(data), stream, 0, connection),
    ]


def batch(counter: int, *frames: AnyFrame, raw: int = 0, epoch: int = 1) -> FrameBatch:
    """`raw`: the raw batch's counter where it is not the same."""
    origin = f"{NODE}/{epoch}/0/{raw or counter}"
    return FrameBatch(shard=0, counter=counter, origin=origin, piece=0, frames=frames)


def shard(**limits: int) -> ShardState:
    return ShardState(shard=0, limits=Limits(**limits))


def told(state: ShardState, *frames: AnyFrame) -> list[Witness]:
    """Each frame as a batch of its own."""
    return [witness for frame in frames for witness in fold(state, frame)]


def fold(state: ShardState, *frames: AnyFrame) -> list[Witness]:
    return receive(state, batch(state.counter + 1, *frames))


def witnessed(*frames: AnyFrame) -> list[Witness]:
    return fold(shard(), opened(), *frames)


def only(witnesses: list[Witness]) -> Witness:
    (witness,) = witnesses
    return witness
