"""HTTP/1 as an observer reads it (RFC 9112): both directions of one connection, message by message.

Knows framing and which response answers which request: the ordinal of the exchange. Does not know
records, reassembly or time beyond the stamp of what it is given. State is plain data; bytes in,
frames out; what breaks the protocol is a frame too, and the rest of its direction opaque.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum

from msgspec import Struct

from services.messages import (
    Direction,
    EndFrame,
    GapFrame,
    Headers,
    InterimHead,
    MalformedFrame,
    RequestHead,
    ResponseHead,
    Side,
)
from services.parse import detection, fields
from services.parse.emission import Emission
from services.parse.reassembly import Hole

_HEAD_END = re.compile(rb"\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\Z", re.DOTALL)
_MAX_CHUNK_LINE = 4096
_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)")


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


def receive(http: Http1, direction: Direction, data: memoryview, out: Emission) -> None:
    half = http.request if direction == http.request.direction else http.response
    _read(http, half, data, out)
    if half is http.request and http.waiting and http.response.buffer:
        _release(http, out)


def awaits_request(http: Http1) -> bool:
    """A response is there whose request has not arrived yet."""
    half = http.response
    return http.patient and half.phase == Phase.HEAD and bool(half.buffer) and not http.waiting


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
        _tell(half, hole, half.stream, half.size, out)
        half.size += size
        if not half.remaining:
            _BODY_DONE[half.phase](http, half, out)
    elif half.phase == Phase.UNTIL_CLOSE:
        _tell(half, hole, half.stream, half.size, out)
        half.size += size
    else:
        _lose(http, half, hole, out)


def close(http: Http1, out: Emission, *, orderly: bool) -> None:
    """What is unfinished stays so; a body that the close ends is whole if the close is orderly."""
    stop_waiting(http, out)
    for half in (http.request, http.response):
        out.skip(half.direction, half.protocol, len(half.buffer))
        half.buffer = b""
        if half.phase == Phase.UNTIL_CLOSE and orderly:
            out.time_ns = half.last_ns
            _end(http, half, (), out)


def held(http: Http1) -> int:
    return len(http.request.buffer) + len(http.response.buffer)


# --- reading --------------------------------------------------------------------------------------


def _read(http: Http1, half: Half, data: memoryview, out: Emission) -> None:
    position, size = 0, len(data)
    while position < size:
        position = _STEPS[half.phase](http, half, data, position, out)


def _release(http: Http1, out: Emission) -> None:
    """Reads again what waited for its request, at the time when it came."""
    half, now = http.response, out.time_ns
    data, out.time_ns = half.buffer, half.last_ns
    end = _complete(http, half, data, 0, out)
    if end:
        _read(http, half, memoryview(data)[end:], out)
    out.time_ns = now


def _head(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    before, size = len(half.buffer), len(data)
    if not before:
        half.started_ns = out.time_ns
        if data[position] in b"\r\n":  # RFC 9112 §2.2: empty lines before a message
            out.parsed += 1
            return position + 1
    block = half.buffer + data[position:] if before or position else bytes(data)
    half.last_ns = out.time_ns
    if half is http.response and http.patient and not http.waiting:
        half.buffer = block
        out.waiting.add(out.connection)
        if len(block) > out.limits.pending:
            stop_waiting(http, out)
        return size
    end = _complete(http, half, block, max(before - 2, 0), out)
    return position + end - before if end else size


def _complete(http: Http1, half: Half, block: bytes, scanned: int, out: Emission) -> int:
    """The length of the head that is dealt with, or 0 and it waits in the buffer."""
    found = _HEAD_END.search(block, scanned)
    end = found.end() if found else len(block)
    if end > out.limits.head:
        return _malformed(http, half, "head too large", len(block), out)
    if not found:
        half.buffer = block
        return 0
    half.buffer = b""
    if not _message(http, half, block[:end], out):
        return _malformed(http, half, f"no {half.side} head", len(block), out)
    out.parsed += end
    return end


def _malformed(http: Http1, half: Half, reason: str, size: int, out: Emission) -> int:
    """`size` bytes and all that follow in this direction are opaque."""
    out.malformed(
        MalformedFrame(
            connection=out.connection, time_ns=out.time_ns, direction=half.direction,
            stream=half.stream or None, protocol="http/1.1", reason=reason, bytes=size,
        )
    )  # fmt: skip
    half.phase, half.buffer = Phase.OPAQUE, b""
    if half is http.request:
        stop_waiting(http, out)
    return size


# --- heads ----------------------------------------------------------------------------------------


def _message(http: Http1, half: Half, head: bytes, out: Emission) -> bool:
    first, _, rest = head.partition(b"\n")
    first = first.removesuffix(b"\r")
    found = fields.fields(rest)
    if found is None:
        return False
    read = _request if half is http.request else _response
    if not read(http, first, found, out):
        return False
    if found.anomaly:
        out.malformed(
            MalformedFrame(
                connection=out.connection, time_ns=half.started_ns, direction=half.direction,
                stream=half.stream, protocol="http/1.1", reason=found.anomaly, bytes=0,
            )
        )  # fmt: skip
    return True


def _request(http: Http1, first: bytes, found: fields.Fields, out: Emission) -> bool:
    line, half = fields.request_line(first), http.request
    if line is None or (found.coded and not found.chunked):
        return False
    http.exchanges += 1
    half.stream, half.size = http.exchanges, 0
    _wait_for_response(http, line.method, out)
    scheme, authority = _where(line, found)
    out.emit(
        RequestHead(
            connection=out.connection, time_ns=half.started_ns, stream=half.stream,
            protocol=line.version, direction=half.direction, method=line.method, scheme=scheme,
            authority=authority, path=line.target, headers=found.headers,
        ),
        2 * len(first) + found.size,
    )  # fmt: skip
    _begin_body(http, half, found, out)
    return True


def _wait_for_response(http: Http1, method: str, out: Emission) -> None:
    http.waiting.append(Waiting(http.request.stream, method))
    if len(http.waiting) > out.limits.waiting:
        del http.waiting[0]
        out.count("requests_without_response_dropped")


def _where(line: fields.RequestLine, found: fields.Fields) -> tuple[str, str | None]:
    """TLS carried it, so the scheme is https where the target does not say (RFC 9110 §7.1)."""
    if line.target[0] == "/":
        return "https", found.host
    if absolute := _ABSOLUTE.match(line.target):
        return absolute[1].lower(), absolute[2]
    return "https", line.target if line.method == "CONNECT" else found.host


def _response(http: Http1, first: bytes, found: fields.Fields, out: Emission) -> bool:
    line, half = fields.status_line(first), http.response
    if line is None:
        return False
    if not http.waiting:  # its request was before our time, or is lost
        http.exchanges += 1
        http.waiting.append(Waiting(http.exchanges, ""))
    request = http.waiting[0]
    half.stream, half.size = request.stream, 0
    if 100 <= line.status < 200:
        _interim(http, line.status, found, out)
        return True
    del http.waiting[0]
    out.emit(
        ResponseHead(
            connection=out.connection, time_ns=half.started_ns, stream=half.stream,
            protocol=line.version, direction=half.direction, status=line.status,
            headers=found.headers,
        ),
        2 * len(first) + found.size,
    )  # fmt: skip
    if request.method == "HEAD" or line.status in (204, 304):
        _end(http, half, (), out)
    elif request.method == "CONNECT" and line.status < 300:
        _end(http, half, (), out)
        _leave(http, "tunnel", out)
    else:
        _begin_body(http, half, found, out)
    return True


def _interim(http: Http1, status: int, found: fields.Fields, out: Emission) -> None:
    half = http.response
    out.emit(
        InterimHead(
            connection=out.connection, time_ns=half.started_ns, stream=half.stream,
            status=status, headers=found.headers,
        ),
        found.size,
    )  # fmt: skip
    if status == 101:
        del http.waiting[0]
        _end(http, half, (), out)
        _leave(http, found.upgrade or "unknown", out)


def _leave(http: Http1, protocol: str, out: Emission) -> None:
    """No HTTP follows on this connection."""
    for half in (http.request, http.response):
        half.phase, half.protocol = Phase.OPAQUE, protocol
        out.skip(half.direction, protocol, len(half.buffer))
        half.buffer = b""


# --- bodies ---------------------------------------------------------------------------------------


def _begin_body(http: Http1, half: Half, found: fields.Fields, out: Emission) -> None:
    """RFC 9112 §6.3: chunked before Content-Length; without both a response ends by the close."""
    if found.chunked:
        half.phase = Phase.CHUNK_SIZE
    elif found.length is not None and not found.coded:
        half.phase, half.remaining = Phase.LENGTH, found.length
        if not found.length:
            _end(http, half, (), out)
    elif half is http.request:
        _end(http, half, (), out)
    else:
        half.phase = Phase.UNTIL_CLOSE


def _content(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    end = min(position + half.remaining, len(data))
    size = end - position
    out.body(half.stream, half.side, half.size, data[position:end])
    out.parsed += size
    half.size += size
    half.remaining -= size
    if not half.remaining:
        _BODY_DONE[half.phase](http, half, out)
    return end


def _until_close(_: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    size = len(data) - position
    out.body(half.stream, half.side, half.size, data[position:])
    out.parsed += size
    half.size += size
    half.last_ns = out.time_ns
    return len(data)


def _chunk_size(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    line, position = _line(half, data, position, out)
    if line is None:
        if len(half.buffer) > _MAX_CHUNK_LINE:
            return _break(http, half, "chunk line too long", data[position:], out)
        return position
    size = _CHUNK_SIZE.match(line.strip(b"\r\n"))
    if size is None:
        out.parsed -= len(line)
        half.buffer = line
        return _break(http, half, "no chunk size", data[position:], out)
    half.remaining = int(size[1], 16)
    half.phase = Phase.CHUNK if half.remaining else Phase.TRAILERS
    return position


def _chunk_end(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    line, position = _line(half, data, position, out)
    broken = half.buffer not in (b"", b"\r") if line is None else line not in (b"\r\n", b"\n")
    if broken:
        if line is not None:
            out.parsed -= len(line)
            half.buffer = line
        return _break(http, half, "no end of chunk", data[position:], out)
    if line is not None:
        half.phase = Phase.CHUNK_SIZE
    return position


def _line(half: Half, data: memoryview, position: int, out: Emission) -> tuple[bytes | None, int]:
    """A line with its end, or None and what there is of it waits in the buffer."""
    block = half.buffer + data[position : position + _MAX_CHUNK_LINE]
    end = block.find(b"\n") + 1
    if not end:
        position += len(block) - len(half.buffer)
        half.buffer = block
        return None, position
    position += end - len(half.buffer)
    half.buffer = b""
    out.parsed += end
    return block[:end], position


def _trailers(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    block, before = half.buffer + data[position:], len(half.buffer)
    empty = 2 if block[:2] == b"\r\n" else 1 if block[:1] == b"\n" else 0
    found = None if empty else _HEAD_END.search(block)
    end = empty or (found.end() if found else 0)
    trailers = fields.fields(block[:end])
    if trailers is None or max(end, len(block) if not end else 0) > out.limits.head:
        return _break(http, half, "no trailers", data[position:], out)
    if not end:
        half.buffer = block
        return len(data)
    half.buffer = b""
    out.parsed += end
    _end(http, half, trailers.headers, out)
    return position + end - before


def _break(http: Http1, half: Half, reason: str, rest: memoryview, out: Emission) -> int:
    """Malformed within a body: what is buffered and the rest of this data is opaque."""
    _malformed(http, half, reason, len(half.buffer) + len(rest), out)
    return 1 << 62


def _chunk_done(_: Http1, half: Half, __: Emission) -> None:
    half.phase = Phase.CHUNK_END


def _length_done(http: Http1, half: Half, out: Emission) -> None:
    _end(http, half, (), out)


def _end(http: Http1, half: Half, trailers: Headers, out: Emission) -> None:
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


def _skip(_: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    out.skip(half.direction, half.protocol, len(data) - position)
    return len(data)


# --- loss -----------------------------------------------------------------------------------------


def _lose(http: Http1, half: Half, hole: Hole, out: Emission) -> None:
    """Where the next message begins is unknown, and which requests or responses are missing."""
    within = Phase.HEAD < half.phase < Phase.OPAQUE
    if half.phase < Phase.OPAQUE:
        half.phase = Phase.LOST
        out.skip(half.direction, half.protocol, len(half.buffer))
        half.buffer = b""
    if within:
        _tell(half, hole, half.stream, half.size, out)
    # Any of these may have been answered in the hole, so none can be paired any more.
    lost = http.waiting if half is http.response else []
    for request in lost:
        _tell(half, hole, request.stream, None, out)
    if not within and not lost:
        _tell(half, hole, None, None, out)
    lost.clear()
    if http.pipelined:
        _leave(http, "unknown", out)


def _tell(half: Half, hole: Hole, stream: int | None, at: int | None, out: Emission) -> None:
    """`at`: the offset in the body, or None where the hole is not within a body."""
    part = f"{half.side}.body" if at is not None else half.direction.name.lower()
    for offset, reason, size in hole.parts(hole.offset if at is None else at):
        out.emit(
            GapFrame(
                connection=out.connection, time_ns=out.time_ns, stream=stream, part=part,
                offset=offset, bytes=size, reason=reason,
            )
        )  # fmt: skip


def _resume(_: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    """A record that begins with a whole first line of a message is proof enough."""
    line = detection.REQUEST_LINE if half.side == "request" else detection.STATUS_LINE
    if position == 0 and line.match(data):
        half.phase = Phase.HEAD
        out.count("resynchronised")
        return 0
    return _skip(_, half, data, position, out)


_Step = Callable[[Http1, Half, memoryview, int, Emission], int]
_STEPS: tuple[_Step, ...] = (
    _head, _content, _chunk_size, _content, _chunk_end, _trailers, _until_close, _skip, _resume,
)  # fmt: skip
_BODY_DONE: dict[Phase, Callable[[Http1, Half, Emission], None]] = {
    Phase.LENGTH: _length_done,
    Phase.CHUNK: _chunk_done,
}
