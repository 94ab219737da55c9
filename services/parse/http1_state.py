"""An HTTP/1 connection as plain data: both directions, each with the message that it is in.

With what every part of the reader does to it: end a side of an exchange, report what is malformed,
tell of a gap, leave HTTP. Knows no syntax.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec
from msgspec import Struct

from services.messages import Direction, Headers, Side
from services.parse import contents
from services.parse.contents import Body
from services.parse.emission import Emission, Fault
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
    HELD = 9  # behind a request that may end HTTP: until its response tells
    PEEK = 10  # a response to nobody knows what: whether a body follows, or the next message


class Waiting(Struct, frozen=True, array_like=True, gc=False):
    """A request whose response has not begun."""

    stream: int
    method: str


class Half(Body, kw_only=True):
    """One direction: where it is in which message. `buffer` holds an unfinished head or line.
    `unproven`: what looks like a head is taken for one only if it is whole; `after` a peek."""

    side: Side
    direction: Direction
    phase: Phase = Phase.HEAD
    buffer: bytes = b""
    started_ns: int = 0
    last_ns: int = 0
    stream: int = 0
    remaining: int = 0
    unproven: bool = False
    after: Phase = Phase.HEAD
    protocol: str = "unknown"  # what opaque bytes are


class Order(Struct, array_like=True, gc=False):
    """What has come since the last request's head: final responses, and responses that had no
    request; whether requests are missing (`missing`: surely one, from its begin), or responses are
    (`torn`). `owed`: an answer, to one that is missing before that head."""

    answers: int = 0
    orphans: int = 0
    holed: bool = False
    missing: bool = False
    torn: bool = False
    owed: bool = False


class Http1(Struct, tag="http1", gc=False):
    """`patient`: a response without a request waits for it, as both were seen from the start.
    `pipelined`: proven, so that after a loss no pairing can be. `turning`: the request that may end
    HTTP, if any; `left`: it did, for this protocol, and the buffers hold what follows."""

    request: Half
    response: Half
    patient: bool
    exchanges: int = 0
    waiting: list[Waiting] = []
    order: Order = msgspec.field(default_factory=Order)
    pipelined: bool = False
    turning: int = 0
    left: str = ""
    expecting: int = 0  # the request that sends its body only once it is told to go on


def begin(client: Direction, *, patient: bool) -> Http1:
    return Http1(
        request=Half(side="request", direction=client),
        response=Half(side="response", direction=Direction(1 - client)),
        patient=patient,
    )


def malformed(http: Http1, half: Half, reason: str, size: int, out: Emission) -> None:
    """These bytes and all that follow in this direction are opaque."""
    if half.unproven:  # it only looked like a message: still lost
        out.skip(half.direction, half.protocol, size)
        half.phase, half.buffer = Phase.LOST, b""
        return
    out.malformed(half.direction, Fault("http/1.1", reason, size, _exchange(http, half)))
    half.phase, half.buffer = Phase.OPAQUE, b""
    if half is http.request:
        http.patient = False


def _exchange(http: Http1, half: Half) -> int | None:
    """Whose the bytes in hand are; a request has a number once its head is read."""
    if half.phase != Phase.HEAD:
        return half.stream
    return http.waiting[0].stream if half is http.response and http.waiting else None


def end(http: Http1, half: Half, trailers: Headers, out: Emission) -> None:
    contents.end(half, half.stream, half.side, trailers, out)
    half.phase = Phase.HEAD
    if half is http.request:
        if http.turning:
            half.phase = Phase.HELD
    elif http.waiting:
        http.pipelined = True  # the next request was there before this response had ended


def tell(half: Half, hole: Hole, stream: int | None, out: Emission) -> None:
    """Of a hole that is not within a body."""
    part = half.direction.name.lower() if stream is None else f"{half.side}.head"
    contents.tell(stream, part, hole.offset, hole, out)
