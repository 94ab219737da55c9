"""What a connection speaks: undecided, HTTP/1, HTTP/2, WebSocket or opaque; one door for all.

Knows which parser reads a connection and how one follows from detection. Each parser has the same
functions: receive, gap, close, held, weight.
"""

from __future__ import annotations

from msgspec import Struct

from services.messages import Direction
from services.parse import contents, detection, http1, http1_pairing, http2, naming, upgraded
from services.parse.detection import Detected
from services.parse.emission import Emission
from services.parse.http1 import Http1
from services.parse.http2 import Http2
from services.parse.naming import Naming
from services.parse.reassembly import Hole
from services.parse.upgraded import WebSocket

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
    name: str = "unknown"  # what it is called if it is nothing known
    begins_lost: list[Direction] = []  # whose first bytes are known to be missing


class Opaque(Struct, tag="opaque"):
    protocol: str = "unknown"


Dialogue = Undecided | Http1 | Http2 | WebSocket | Opaque


def receive(dialogue: Dialogue, direction: Direction, data: memoryview, out: Emission) -> Dialogue:
    """Reads the next bytes of a direction; answers what the connection speaks from now on."""
    match dialogue:
        case Http1(left=""):
            http1.receive(dialogue, direction, data, out)
            return _successor(dialogue, out) if dialogue.left else dialogue
        case Http2():
            http2.receive(dialogue, direction, data, out)
        case WebSocket():
            upgraded.receive(dialogue, direction, data, out)
        case Http1():
            return receive(_successor(dialogue, out), direction, data, out)
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
        case WebSocket():
            upgraded.gap(dialogue, direction, hole, out)
        case Opaque():
            contents.tell(None, direction.name.lower(), hole.offset, hole, out)
        case Undecided():
            if not dialogue.joined or dialogue.begins_lost:
                dialogue.begins_lost = sorted({*dialogue.begins_lost, direction})
            _skip(dialogue, direction, out)
            dialogue.joined = True
            contents.tell(None, direction.name.lower(), hole.offset, hole, out)


def close(dialogue: Dialogue, out: Emission, *, orderly: bool) -> None:
    match dialogue:
        case Http1():
            http1.close(dialogue, out, orderly=orderly)
        case Http2():
            http2.close(dialogue, out)
        case WebSocket():
            upgraded.close(dialogue, out)
        case Undecided():
            for direction in Direction:
                _skip(dialogue, direction, out)


def held(dialogue: Dialogue) -> int:
    match dialogue:
        case Http1():
            return http1.held(dialogue)
        case Http2():
            return http2.held(dialogue)
        case WebSocket():
            return upgraded.held(dialogue)
        case Undecided():
            return sum(len(held.data) for held in dialogue.held)
        case Opaque():
            return 0


def weight(dialogue: Dialogue) -> int:
    """What its state takes beside what every connection's does, about."""
    if isinstance(dialogue, Http1):
        return len(dialogue.request.buffer) + len(dialogue.response.buffer) + http1.weight(dialogue)
    if isinstance(dialogue, Http2):
        return http2.weight(dialogue)
    return upgraded.weight(dialogue) if isinstance(dialogue, WebSocket) else held(dialogue)


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
    pieces = [held.data for held in undecided.held if held.direction == direction]
    detected = _detect(undecided, b"".join(pieces))
    if detected is Detected.UNKNOWN and undecided.joined and len(pieces) > 1:
        last = undecided.held.pop()
        _skip(undecided, direction, out)
        undecided.held.append(last)
        detected = _detect(undecided, last.data)
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
            undecided.joined = False
            decided = _http2(undecided, direction)
        case Detected.HTTP2:
            decided = _http2(undecided, None if undecided.joined else Direction(1 - direction))
        case Detected.WEBSOCKET_CLIENT:
            decided = upgraded.join(direction, undecided.base + 1)
        case Detected.WEBSOCKET_SERVER:
            decided = upgraded.join(Direction(1 - direction), undecided.base + 1)
    return _replay(undecided, decided, out)


def _detect(undecided: Undecided, data: bytes) -> Detected:
    if undecided.joined:
        return detection.detect_joined(data)
    detected = detection.detect(data)
    if detected is Detected.UNKNOWN:
        match naming.name(data):
            case Naming.MORE:
                return Detected.MORE
            case str(name):
                undecided.name = name
    return detected


def _http1(undecided: Undecided, client: Direction) -> Http1:
    found = http1.begin(client, patient=not undecided.joined)
    found.exchanges = undecided.base
    if undecided.joined:  # who knows what the other direction is in the middle of
        found.request.phase = found.response.phase = http1.Phase.LOST
        http1_pairing.joined(found, undecided.begins_lost)
    return found


def _http2(undecided: Undecided, client: Direction | None) -> Http2:
    found = http2.begin(client, partial=undecided.joined)
    found.streams.base = undecided.base + (undecided.base & 1)  # a stream's parity tells who began
    return found


def _successor(http: Http1, out: Emission) -> Dialogue:
    """What follows HTTP/1.1 on its connection, given what has come of it already."""
    following: Dialogue
    if http.left == "websocket":
        following = upgraded.begin(http.request.direction, http.response.stream)
        following.halves[http.request.direction].lost = http.request.phase == http1.Phase.LOST
    else:
        following = Undecided(joined=False, base=http.exchanges, name=http.left)
    now = out.time_ns
    for half in (http.request, http.response):
        if half.buffer:
            out.time_ns = half.last_ns
            data, half.buffer = half.buffer, b""
            following = receive(following, half.direction, memoryview(data), out)
    out.time_ns = now
    return following


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
    return Opaque(undecided.name)


def _skip(undecided: Undecided, direction: Direction, out: Emission) -> None:
    size = sum(len(held.data) for held in undecided.held if held.direction == direction)
    out.skip(direction, undecided.name, size)
    undecided.skipped += size
    undecided.held = [held for held in undecided.held if held.direction != direction]
