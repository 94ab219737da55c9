"""A connection that HTTP/1.1 has left for WebSocket: both directions of it, and when it ends.

Knows the closing handshake (RFC 6455 §5.5.1); frames and messages are websocket.py's.
"""

from __future__ import annotations

from msgspec import Struct

from services.messages import Direction, EndFrame
from services.parse import websocket
from services.parse.emission import Emission
from services.parse.reassembly import Hole
from services.parse.websocket import Half


class WebSocket(Struct, tag="websocket"):
    """`headless`: joined, so that its exchange has no heads and no end."""

    stream: int
    halves: tuple[Half, Half]  # egress, ingress
    ended: bool = False
    headless: bool = False


def begin(client: Direction, stream: int) -> WebSocket:
    server = Direction(1 - client)
    halves = [websocket.begin(client, "client", stream), websocket.begin(server, "server", stream)]
    egress, ingress = sorted(halves, key=lambda half: half.direction)
    return WebSocket(stream, (egress, ingress))


def join(client: Direction, stream: int) -> WebSocket:
    """In the middle."""
    found = begin(client, stream)
    found.headless = True
    for half in found.halves:
        half.lost = True
    return found


def receive(upgraded: WebSocket, direction: Direction, data: memoryview, out: Emission) -> None:
    half = upgraded.halves[direction]
    if half.close_seen:  # nothing may follow (RFC 6455 §5.5.1)
        out.skip(direction, "websocket", len(data))
        return
    websocket.receive(half, data, out)
    if half.close_seen and all(half.close_seen for half in upgraded.halves):
        _end(upgraded, out)


def gap(upgraded: WebSocket, direction: Direction, hole: Hole, out: Emission) -> None:
    websocket.gap(upgraded.halves[direction], hole, out)


def close(upgraded: WebSocket, out: Emission) -> None:
    """One close frame is an orderly end: the peer need not have waited for the other."""
    for half in upgraded.halves:
        websocket.close(half, out)
    if any(half.close_seen for half in upgraded.halves):
        _end(upgraded, out)


def held(upgraded: WebSocket) -> int:
    return sum(websocket.held(half) for half in upgraded.halves)


def weight(upgraded: WebSocket) -> int:
    return sum(websocket.weight(half) for half in upgraded.halves)


def _end(upgraded: WebSocket, out: Emission) -> None:
    if upgraded.ended:
        return
    upgraded.ended = True
    if not upgraded.headless:
        out.emit(
            EndFrame(
                connection=out.connection, time_ns=out.time_ns, stream=upgraded.stream,
                side="response", size=0,
            )
        )  # fmt: skip
