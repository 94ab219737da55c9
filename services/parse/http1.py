"""HTTP/1 as an observer reads it (RFC 9112): both directions of one connection, message by message.

Finds where heads end, and what a gap leaves of the reading; heads and bodies are read by their own
modules. Does not know records, reassembly or time beyond the stamp of what it is given. Bytes in,
frames out; what breaks the protocol is a frame too, and the rest of its direction opaque.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from services.messages import Direction
from services.parse import contents, detection, http1_bodies, http1_heads, http1_pairing
from services.parse.emission import Emission
from services.parse.http1_state import Half, Http1, Phase, begin, end, malformed, tell
from services.parse.reassembly import Hole

__all__ = [
    "Http1",
    "Phase",
    "awaits_request",
    "begin",
    "close",
    "gap",
    "held",
    "receive",
    "stop_waiting",
    "weight",
]

_HEAD_END = re.compile(rb"\n\r?\n")


def receive(http: Http1, direction: Direction, data: memoryview, out: Emission) -> None:
    half = http.request if direction == http.request.direction else http.response
    _read(http, half, data, out)
    if http.response.buffer and half is http.request and (http.waiting or not http.patient):
        _release(http, out)
    if http.request.phase == Phase.HELD and not http.turning and not http.left:
        _go_on(http, out)


def awaits_request(http: Http1) -> bool:
    """A response is there whose request has not arrived yet."""
    half = http.response
    if not http.patient or http.left or http.waiting:
        return False
    return half.phase == Phase.HEAD and bool(half.buffer)


def stop_waiting(http: Http1, out: Emission) -> None:
    """The requests of responses that wait will not come, nor those of later ones in time."""
    http.patient = False
    if http.response.buffer:
        _release(http, out)


def gap(http: Http1, direction: Direction, hole: Hole, out: Emission) -> None:
    """A hole within a body of known framing is only a hole; any other loses the direction."""
    half = http.request if direction == http.request.direction else http.response
    size = hole.size()
    if half is http.request:
        stop_waiting(http, out)
    if half.phase in (Phase.LENGTH, Phase.CHUNK) and size <= half.remaining:
        half.remaining -= size
        contents.gap(half, half.stream, half.side, hole, out)
        if not half.remaining:
            http1_bodies.BODY_DONE[half.phase](http, half, out)
    elif half.phase == Phase.UNTIL_CLOSE:
        contents.gap(half, half.stream, half.side, hole, out)
    else:
        _lose(http, half, hole, out)


def close(http: Http1, out: Emission, *, orderly: bool) -> None:
    """What is unfinished stays so; a body that the close ends is whole if the close is orderly."""
    stop_waiting(http, out)
    for half in (http.request, http.response):
        out.skip(half.direction, half.protocol, len(half.buffer))
        half.buffer = b""
        contents.close(half, half.stream, half.side, out)
        phase = half.after if half.phase == Phase.PEEK else half.phase
        if phase == Phase.UNTIL_CLOSE and orderly:
            out.time_ns = half.last_ns
            end(http, half, (), out)


def held(http: Http1) -> int:
    return len(http.request.buffer) + len(http.response.buffer)


def weight(http: Http1) -> int:
    """What messages in hand take."""
    request, response = http.request, http.response
    if request.content is None and response.content is None:
        return 0
    return contents.weight(request) + contents.weight(response)


# --- reading --------------------------------------------------------------------------------------


def _read(http: Http1, half: Half, data: memoryview, out: Emission) -> None:
    position, size = 0, len(data)
    while position < size:
        if http.left:
            half.buffer, half.last_ns = half.buffer + data[position:], out.time_ns
            return
        position = _STEPS[half.phase](http, half, data, position, out)


def _release(http: Http1, out: Emission) -> None:
    """Reads again what waited for its request, at the time when it came."""
    half, now = http.response, out.time_ns
    data, out.time_ns = half.buffer, half.last_ns
    half.buffer = b""
    stop = _complete(http, half, data, 0, out)
    _read(http, half, memoryview(data)[stop:], out)
    out.time_ns = now


def _head(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    before = len(half.buffer)
    if not before:
        half.started_ns = out.time_ns
        if data[position] in b"\r\n":  # RFC 9112 §2.2: empty lines before a message
            out.parsed += 1
            return position + 1
    block = half.buffer + data[position:] if before or position else bytes(data)
    half.last_ns = out.time_ns
    if half is http.response and http.patient and not http.waiting:
        _wait(http, half, block, out)
        return len(data)
    return position + _complete(http, half, block, max(before - 2, 0), out) - before


def _wait(http: Http1, half: Half, block: bytes, out: Emission) -> None:
    half.buffer = block
    out.waiting.add(out.connection)
    if len(block) > out.limits.early_bytes:
        stop_waiting(http, out)


def _complete(http: Http1, half: Half, block: bytes, scanned: int, out: Emission) -> int:
    """How much of the block is dealt with: a head, or all where it waits for more in the buffer."""
    found = _HEAD_END.search(block, scanned)
    stop, limit = found.end() if found else len(block), out.limits.head
    half.buffer = b""
    if stop > limit:
        malformed(http, half, "head too large", limit + 1, out)
        return limit + 1
    if not found:
        half.buffer = block
    elif http1_pairing.has_ended(http, half, out):
        out.skip(half.direction, half.protocol, stop)
    elif http1_heads.message(http, half, block[:stop], out):
        out.parsed += stop
        if half.unproven:
            half.unproven = False
            out.count("resynchronised")
    else:
        malformed(http, half, f"no {half.side} head", stop, out)
    return stop


def _skip(_: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    out.skip(half.direction, half.protocol, len(data) - position)
    return len(data)


def _hold(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    """What follows may be no HTTP: the response to the last request tells (RFC 9110 §7.8)."""
    half.buffer, half.last_ns = half.buffer + data[position:], out.time_ns
    if len(half.buffer) > out.limits.early_bytes:
        out.count("upgrades_given_up")
        http.turning = 0
    return len(data)


def _go_on(http: Http1, out: Emission) -> None:
    """It was HTTP after all."""
    half, now = http.request, out.time_ns
    data, half.buffer, half.phase = half.buffer, b"", Phase.HEAD
    out.time_ns = half.last_ns if data else now
    _read(http, half, memoryview(data), out)
    out.time_ns = now


def _peek(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    if not half.buffer:
        half.started_ns = out.time_ns
    block = half.buffer + data[position:]
    half.last_ns = out.time_ns
    message = http1_bodies.followed_by_message(half, block)
    half.buffer = block if message is None else b""
    if message:
        end(http, half, (), out)
        _read_again(http, half, block, out)
    elif message is not None:
        half.phase = half.after
        _read(http, half, memoryview(block), out)
    return len(data)


def _read_again(http: Http1, half: Half, block: bytes, out: Emission) -> None:
    """As a head, whose first byte came before."""
    stop = _complete(http, half, block, 0, out)
    _read(http, half, memoryview(block)[stop:], out)


# --- loss -----------------------------------------------------------------------------------------


def _lose(http: Http1, half: Half, hole: Hole, out: Emission) -> None:
    """Where the next message begins is unknown, and which requests or responses are missing."""
    if half is http.request:
        http1_pairing.request_lost(http)
    within = Phase.HEAD < half.phase < Phase.OPAQUE or half.phase == Phase.PEEK
    if half.phase != Phase.OPAQUE:
        half.phase = Phase.LOST
        out.skip(half.direction, half.protocol, len(half.buffer))
        half.buffer = b""
    if within:
        contents.tear(half, half.stream, half.side, hole, out)
    # Any of these may have been answered in the hole, so none can be paired any more.
    lost = http.waiting if half is http.response else []
    for request in lost:
        tell(half, hole, request.stream, out)
    if not within and not lost:
        tell(half, hole, None, out)
    lost.clear()
    if half is http.response:
        http1_pairing.response_lost(http)
        if http.turning:
            _lose_turn(http, out)
    http.patient = False  # a response whose request is gone would take the next one's place
    if http.pipelined:
        http1_pairing.give_up(http, out)


def _lose_turn(http: Http1, out: Emission) -> None:
    """Whether HTTP has ended stood in what is lost."""
    http.turning, half = 0, http.request
    if half.phase == Phase.HELD:
        out.skip(half.direction, half.protocol, len(half.buffer))
        half.phase, half.buffer = Phase.LOST, b""


def _resume(_: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    """A record that begins with a whole head is proof; its first line is worth a try."""
    line = detection.REQUEST_LINE if half.side == "request" else detection.STATUS_LINE
    if position == 0 and line.match(data):
        half.phase, half.unproven = Phase.HEAD, True
        return 0
    return _skip(_, half, data, position, out)


_Step = Callable[[Http1, Half, memoryview, int, Emission], int]
_STEPS: tuple[_Step, ...] = (  # by phase
    _head,
    http1_bodies.content,
    http1_bodies.chunk_size,
    http1_bodies.content,
    http1_bodies.chunk_end,
    http1_bodies.trailers,
    http1_bodies.until_close,
    _skip,
    _resume,
    _hold,
    _peek,
)
