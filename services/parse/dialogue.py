"""What a connection speaks: undecided, HTTP/1, HTTP/2, or opaque; one door for the four.

Knows which parser reads a connection and how one follows from detection. Each parser has the same
four functions: receive, gap, close, held.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from services.messages import Direction, GapFrame
from services.parse import detection, http1, http2
from services.parse.detection import Detected
from services.parse.emission import Emission
from services.parse.http1 import Http1
from services.parse.http2 import Http2
from services.parse.reassembly import Hole

_MAX_HELD = 256  # pieces that keep the time of their own; more are put together
DIRECTIONS = (Direction.EGRESS, Direction.INGRESS)


class Held(Struct, frozen=True, array_like=True):
    """Bytes that wait for a decision, with the time when they came."""

    time_ns: int
    direction: Direction
    data: bytes

    def __repr__(self) -> str:
        return f"Held({self.direction.name}, {len(self.data)})"


class Undecided(Struct, tag="undecided"):
    """`joined`: not from its first byte, so that only a record's start can prove anything;
    `skipped` counts what proved nothing; streams are numbered above `base`."""

    joined: bool
    base: int = 0
    held: list[Held] = []
    skipped: int = 0


class Opaque(Struct, tag="opaque"):
    protocol: str = "unknown"


Dialogue = Undecided | Http1 | Http2 | Opaque


def receive(dialogue: Dialogue, direction: Direction, data: memoryview, out: Emission) -> Dialogue:
    """Reads the next bytes of a direction; answers what the connection speaks from now on."""
    match dialogue:
        case Http1():
            http1.receive(dialogue, direction, data, out)
        case Http2():
            http2.receive(dialogue, direction, data, out)
        case Opaque():
            out.skip(direction, dialogue.protocol, len(data))
        case Undecided():
            _hold(dialogue, direction, data, out.time_ns)
            return _decide(dialogue, direction, out)
    return dialogue


def gap(dialogue: Dialogue, direction: Direction, hole: Hole, out: Emission) -> None:
    match dialogue:
        case Http1():
            http1.gap(dialogue, direction, hole, out)
        case Http2():
            http2.gap(dialogue, direction, hole, out)
        case Opaque():
            _tell(direction, hole, out)
        case Undecided():
            _skip(dialogue, direction, out)
            dialogue.joined = True
            _tell(direction, hole, out)


def close(dialogue: Dialogue, out: Emission, *, orderly: bool) -> None:
    match dialogue:
        case Http1():
            http1.close(dialogue, out, orderly=orderly)
        case Http2():
            http2.close(dialogue, out)
        case Undecided():
            for direction in Direction:
                _skip(dialogue, direction, out)


def held(dialogue: Dialogue) -> int:
    match dialogue:
        case Http1():
            return http1.held(dialogue)
        case Http2():
            return http2.held(dialogue)
        case Undecided():
            return sum(len(held.data) for held in dialogue.held)
        case Opaque():
            return 0


def awaits_request(dialogue: Dialogue) -> bool:
    return isinstance(dialogue, Http1) and http1.awaits_request(dialogue)


def stop_waiting(dialogue: Dialogue, out: Emission) -> None:
    if isinstance(dialogue, Http1):
        http1.stop_waiting(dialogue, out)


def _hold(undecided: Undecided, direction: Direction, data: memoryview, time_ns: int) -> None:
    held = undecided.held
    if len(held) >= _MAX_HELD and held[-1].direction == direction:
        time_ns, before = held[-1].time_ns, held.pop().data
        held.append(Held(time_ns, direction, before + data))
    else:
        held.append(Held(time_ns, direction, bytes(data)))


def _decide(undecided: Undecided, direction: Direction, out: Emission) -> Dialogue:
    data = b"".join(held.data for held in undecided.held if held.direction == direction)
    detected = detection.detect(data)
    if undecided.joined and detected in (Detected.UNKNOWN, Detected.MORE):
        detected = Detected.HTTP2 if detection.frames_plausible(data) else Detected.UNKNOWN
    decided: Dialogue
    match detected:
        case Detected.MORE:
            return undecided
        case Detected.UNKNOWN:
            return _unknown(undecided, direction, out)
        case Detected.HTTP1_REQUEST:
            decided = _http1(undecided, direction)
        case Detected.HTTP1_RESPONSE:
            decided = _http1(undecided, Direction(1 - direction))
        case Detected.HTTP2_CLIENT:
            decided = http2.begin(direction, partial=False)
            decided.streams.base = undecided.base
        case Detected.HTTP2:
            client = None if undecided.joined else Direction(1 - direction)
            decided = http2.begin(client, partial=undecided.joined)
            decided.streams.base = undecided.base
    return _replay(undecided, decided, out)


def _http1(undecided: Undecided, client: Direction) -> Http1:
    return msgspec.structs.replace(
        http1.begin(client, patient=not undecided.joined), exchanges=undecided.base
    )


def _replay(undecided: Undecided, decided: Dialogue, out: Emission) -> Dialogue:
    now = out.time_ns
    for held in undecided.held:
        out.time_ns = held.time_ns
        decided = receive(decided, held.direction, memoryview(held.data), out)
    out.time_ns = now
    return decided


def _unknown(undecided: Undecided, direction: Direction, out: Emission) -> Dialogue:
    """Final for a connection that is known from its first byte; else the next record may tell."""
    _skip(undecided, direction, out)
    if undecided.joined and undecided.skipped < out.limits.undecided_bytes:
        return undecided
    for other in Direction:
        _skip(undecided, other, out)
    out.count("connections_opaque")
    return Opaque()


def _skip(undecided: Undecided, direction: Direction, out: Emission) -> None:
    size = sum(len(held.data) for held in undecided.held if held.direction == direction)
    out.skip(direction, "unknown", size)
    undecided.skipped += size
    undecided.held = [held for held in undecided.held if held.direction != direction]


def _tell(direction: Direction, hole: Hole, out: Emission) -> None:
    for offset, reason, size in hole.parts(hole.offset):
        out.emit(
            GapFrame(
                connection=out.connection,
                time_ns=out.time_ns,
                stream=None,
                part=direction.name.lower(),
                offset=offset,
                bytes=size,
                reason=reason,
            )
        )
