"""An HTTP/1 connection as plain data: both directions, each with the message that it is in.

With what every part of the reader does to it: end a side of an exchange, report what is malformed,
tell of a gap, leave HTTP. Knows no syntax.
"""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from services.messages import Direction, EndFrame, GapFrame, Headers, MalformedFrame, Side
from services.parse.emission import Emission
from services.parse.reassembly import Hole


class Phase(IntEnum):
    HEAD = 0
    LENGTH = 1
    CHUNK_SIZE = 2
    CHUNK = 3
    CHUNK_END = 4
    TRAILERS = 5
    UNTIL_CLOSE = 6
    OPAQUE = 7  # for good: upgraded, or malformed
    LOST = 8  # until a record begins with a message


class Waiting(Struct, frozen=True, array_like=True):
    """A request whose response has not begun."""

    stream: int
    method: str


class Half(Struct):
    """One direction: where it is in which message. `buffer` holds an unfinished head or line."""

    side: Side
    direction: Direction
    phase: Phase = Phase.HEAD
    buffer: bytes = b""
    started_ns: int = 0
    last_ns: int = 0
    stream: int = 0
    remaining: int = 0
    size: int = 0
    protocol: str = "unknown"  # what opaque bytes are


class Http1(Struct, tag="http1"):
    """`patient`: a response without a request waits for it, as both were seen from the start.
    `pipelined`: proven, so that after a loss no pairing can be."""

    request: Half
    response: Half
    patient: bool
    exchanges: int = 0
    waiting: list[Waiting] = []
    pipelined: bool = False


def begin(client: Direction, *, patient: bool) -> Http1:
    return Http1(
        request=Half(side="request", direction=client),
        response=Half(side="response", direction=Direction(1 - client)),
        patient=patient,
    )


def malformed(http: Http1, half: Half, reason: str, size: int, out: Emission) -> None:
    """These bytes and all that follow in this direction are opaque."""
    _report(half, _exchange(http, half), reason, size, out)
    half.phase, half.buffer = Phase.OPAQUE, b""
    if half is http.request:
        http.patient = False


def anomaly(half: Half, reason: str, out: Emission) -> None:
    """Wrong, but read all the same."""
    _report(half, half.stream, reason, 0, out)


def _exchange(http: Http1, half: Half) -> int | None:
    """Whose the bytes in hand are; a request has a number once its head is read."""
    if half.phase != Phase.HEAD:
        return half.stream
    return http.waiting[0].stream if half is http.response and http.waiting else None


def _report(half: Half, stream: int | None, reason: str, size: int, out: Emission) -> None:
    out.malformed(
        MalformedFrame(
            connection=out.connection,
            time_ns=out.time_ns,
            direction=half.direction,
            stream=stream,
            protocol="http/1.1",
            reason=reason,
            bytes=size,
        )
    )


def end(http: Http1, half: Half, trailers: Headers, out: Emission) -> None:
    out.emit(
        EndFrame(
            connection=out.connection, time_ns=out.time_ns, stream=half.stream, side=half.side,
            size=half.size, trailers=trailers,
        ),
        out.limits.head if trailers else 0,
    )  # fmt: skip
    half.phase = Phase.HEAD
    if half is http.response and http.waiting:
        http.pipelined = True  # the next request was there before this response had ended


def leave(http: Http1, protocol: str, out: Emission) -> None:
    """No HTTP follows on this connection."""
    for half in (http.request, http.response):
        half.phase, half.protocol = Phase.OPAQUE, protocol
        out.skip(half.direction, protocol, len(half.buffer))
        half.buffer = b""


def tell(half: Half, hole: Hole, stream: int | None, at: int | None, out: Emission) -> None:
    """`at`: the offset in the body, or None where the hole is not within a body."""
    part = half.direction.name.lower()
    if stream is not None:
        part = f"{half.side}.head" if at is None else f"{half.side}.body"
    for offset, reason, size in hole.parts(hole.offset if at is None else at):
        out.emit(
            GapFrame(
                connection=out.connection, time_ns=out.time_ns, stream=stream, part=part,
                offset=offset, bytes=size, reason=reason,
            )
        )  # fmt: skip
