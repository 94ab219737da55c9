"""HTTP/2 as an observer reads it (RFC 9113): frames of both directions, streams, header blocks.

Knows framing and HPACK; streams.py knows what they mean for an exchange. A gap in the middle of a
DATA frame is only a hole in a body; any other loses the direction until a record begins with a
frame header that can be proven, and makes its header table partial. State is plain data.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from msgspec import Struct

from services.messages import Direction, GapFrame, MalformedFrame
from services.parse import detection, hpack, streams
from services.parse.emission import Emission
from services.parse.reassembly import Hole
from services.parse.streams import Streams

_HEADER = struct.Struct(">HBBBL")
_SIZE = _HEADER.size
_STREAM_MASK = 0x7FFFFFFF
_MAX_CONTROL = 64 * 1024  # of SETTINGS, GOAWAY and their kin; larger ones are passed over

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW, CONTINUATION = (
    range(10)
)
_END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x4, 0x8, 0x20


class Payload(Struct, array_like=True):
    """The rest of a DATA frame, or of one to pass over: handed on as it comes, not buffered."""

    stream: int
    content: int
    padding: int
    end_stream: bool
    passed_over: bool


class OpenBlock(Struct, array_like=True):
    """A header block until END_HEADERS. `too_large`: its bytes are not kept."""

    stream: int
    end_stream: bool
    started_ns: int
    promised: bool
    fragments: bytes = b""
    too_large: bool = False


class Half(Struct):
    direction: Direction
    table: hpack.Table
    buffer: bytes = b""
    started_ns: int = 0
    payload: Payload | None = None
    block: OpenBlock | None = None
    lost: bool = False


class Http2(Struct, tag="http2"):
    halves: tuple[Half, Half]
    streams: Streams


class Frame(Struct, frozen=True):
    kind: int
    flags: int
    stream: int
    length: int


def begin(client: Direction | None, *, partial: bool) -> Http2:
    egress, ingress = (
        Half(direction=direction, table=hpack.Table(partial=partial)) for direction in Direction
    )
    return Http2((egress, ingress), Streams(client=client))


def receive(http: Http2, direction: Direction, data: memoryview, out: Emission) -> None:
    half = http.halves[direction]
    if half.lost:
        if not detection.frames_plausible(data):
            out.skip(direction, "http/2", len(data))
            return
        half.lost = False
        out.count("resynchronised")
    if half.buffer:
        data = memoryview(half.buffer + data)
    else:
        half.started_ns = out.time_ns
    half.buffer = b""
    position = _read(http, half, data, out)
    half.buffer = bytes(data[position:])


def gap(http: Http2, direction: Direction, hole: Hole, out: Emission) -> None:
    half, size = http.halves[direction], hole.size()
    payload = half.payload
    if payload and size <= payload.content:
        payload.content -= size
        if not payload.passed_over:
            streams.gap(http.streams, direction, payload.stream, hole, out)
        _finish_payload(http, half, payload, out)
        return
    _lose(half, out)
    for offset, reason, part in hole.parts(hole.offset):
        out.emit(
            GapFrame(
                connection=out.connection, time_ns=out.time_ns, stream=None,
                part=direction.name.lower(), offset=offset, bytes=part, reason=reason,
            )
        )


def close(http: Http2, out: Emission) -> None:
    for half in http.halves:
        _drop_buffer(half, out)


def held(http: Http2) -> int:
    return sum(
        len(half.buffer) + (len(half.block.fragments) if half.block else 0) for half in http.halves
    )


def _drop_buffer(half: Half, out: Emission) -> None:
    out.skip(half.direction, "http/2", len(half.buffer))
    if half.block:
        out.skip(half.direction, "http/2", len(half.block.fragments))
    half.buffer, half.block = b"", None


def _lose(half: Half, out: Emission) -> None:
    _drop_buffer(half, out)
    half.payload, half.lost = None, True
    hpack.forget(half.table)


# --- frames ---------------------------------------------------------------------------------------


def _read(http: Http2, half: Half, data: memoryview, out: Emission) -> int:
    """How far it came: whole frames, and what there is of DATA."""
    position, size = 0, len(data)
    while position < size:
        if half.payload:
            position = _payload(http, half, half.payload, data, position, out)
            continue
        if size - position < _SIZE:
            break
        high, low, kind, flags, stream = _HEADER.unpack_from(data, position)
        frame = Frame(kind, flags, stream & _STREAM_MASK, high << 8 | low)
        end = _frame(http, half, frame, data, position, out)
        if not end:
            break
        position = end
        half.started_ns = out.time_ns
        if half.payload:  # an empty one ends here: nothing need follow
            _finish_payload(http, half, half.payload, out)
    return position


def _frame(http: Http2, half: Half, frame: Frame, data: memoryview, at: int, out: Emission) -> int:
    """Where the next frame begins, or 0 where this one is not whole."""
    if frame.kind == _PREFACE_KIND and frame.length == _PREFACE_LENGTH:
        return _preface(http, half, data, at, out)
    if half.block and (frame.kind != CONTINUATION or frame.stream != half.block.stream):
        return _malformed(half, "header block interrupted", data, at, out)
    if frame.kind == DATA:
        return _begin_data(half, frame, data, at, out)
    if frame.kind > CONTINUATION or frame.length > _MAX_CONTROL:
        return _pass_over(half, frame, at, out)
    start = at + _SIZE
    end = start + frame.length
    if end > len(data):
        return 0
    act = _ACTIONS.get(frame.kind)
    out.parsed += end - at
    if act is not None and not act(http, half, frame, bytes(data[start:end]), out):
        out.parsed -= end - at
        return _malformed(half, f"malformed frame of kind {frame.kind}", data, at, out)
    return end


def _malformed(half: Half, reason: str, data: memoryview, at: int, out: Emission) -> int:
    """From here on opaque, until a record begins with what is a frame header beyond doubt."""
    out.malformed(
        MalformedFrame(
            connection=out.connection, time_ns=out.time_ns, direction=half.direction, stream=None,
            protocol="http/2", reason=reason, bytes=len(data) - at,
        )
    )
    _lose(half, out)
    return len(data)


def _preface(http: Http2, half: Half, data: memoryview, at: int, out: Emission) -> int:
    """At the beginning; or anew, when a TLS object is used for another connection."""
    end = at + len(detection.PREFACE)
    if end > len(data):
        return (
            0
            if detection.PREFACE.startswith(data[at:])
            else _malformed(half, "malformed preface", data, at, out)
        )
    if data[at:end] != detection.PREFACE:
        return _malformed(half, "malformed preface", data, at, out)
    out.parsed += end - at
    if http.streams.client is not None and http.streams.begun:
        for other in http.halves:
            other.table, other.payload = hpack.Table(), None
            if other is not half:
                _drop_buffer(other, out)
    streams.begin_anew(http.streams, half.direction)
    return end


def _begin_data(half: Half, frame: Frame, data: memoryview, at: int, out: Emission) -> int:
    padding, start = 0, at + _SIZE
    if frame.flags & _PADDED and frame.length:
        if start >= len(data):
            return 0
        padding = data[start] + 1
        start += 1
    if padding > frame.length or not frame.stream:
        return _malformed(half, "malformed frame of kind 0", data, at, out)
    content = frame.length - padding
    out.parsed += start - at
    half.payload = Payload(
        frame.stream, content, max(padding - 1, 0), bool(frame.flags & _END_STREAM), False
    )
    return start


def _pass_over(half: Half, frame: Frame, at: int, out: Emission) -> int:
    out.parsed += _SIZE
    out.count("frames_passed_over")
    half.payload = Payload(frame.stream, frame.length, 0, False, True)
    if frame.kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
        block = half.block or OpenBlock(
            frame.stream, bool(frame.flags & _END_STREAM), out.time_ns, frame.kind == PUSH_PROMISE
        )
        half.block = _overflow(half, block, out)
        if frame.flags & _END_HEADERS:
            half.block = None
    return at + _SIZE


def _payload(
    http: Http2, half: Half, payload: Payload, data: memoryview, at: int, out: Emission
) -> int:
    end = min(at + payload.content, len(data))
    if end > at:
        payload.content -= end - at
        out.parsed += end - at
        if not payload.passed_over:
            streams.data(http.streams, half.direction, payload.stream, data[at:end], out)
    skipped = 0 if payload.content else min(payload.padding, len(data) - end)
    payload.padding -= skipped
    out.parsed += skipped
    _finish_payload(http, half, payload, out)
    return end + skipped


def _finish_payload(http: Http2, half: Half, payload: Payload, out: Emission) -> None:
    if payload.content or payload.padding:
        return
    half.payload = None
    if payload.end_stream:
        streams.end(http.streams, half.direction, payload.stream, (), out)


# --- what frames do -------------------------------------------------------------------------------


def _headers(http: Http2, half: Half, frame: Frame, payload: bytes, out: Emission) -> bool:
    start = 5 if frame.flags & _PRIORITY else 0
    fragment = _unpadded(frame, payload, start)
    if fragment is None or not frame.stream:
        return False
    block = OpenBlock(frame.stream, bool(frame.flags & _END_STREAM), half.started_ns, False)
    _fragment(http, half, frame, block, fragment, out)
    return True


def _push_promise(http: Http2, half: Half, frame: Frame, payload: bytes, out: Emission) -> bool:
    """Its block keeps the table in step; what is pushed is no exchange of the client's."""
    fragment = _unpadded(frame, payload, 4)
    if fragment is None:
        return False
    _fragment(http, half, frame, OpenBlock(frame.stream, False, 0, True), fragment, out)
    start = 1 if frame.flags & _PADDED else 0
    promised = int.from_bytes(payload[start : start + 4]) & _STREAM_MASK
    streams.ignore(http.streams, promised)
    out.count("pushed_streams_ignored")
    return True


def _continuation(http: Http2, half: Half, frame: Frame, payload: bytes, out: Emission) -> bool:
    if half.block is None:
        return False
    _fragment(http, half, frame, half.block, payload, out)
    return True


def _unpadded(frame: Frame, payload: bytes, start: int) -> bytes | None:
    padding = 0
    if frame.flags & _PADDED:
        if not payload:
            return None
        padding, start = payload[0], start + 1
    end = len(payload) - padding
    return payload[start:end] if start <= end else None


def _fragment(
    http: Http2, half: Half, frame: Frame, block: OpenBlock, fragment: bytes, out: Emission
) -> None:
    """A part of a block is held, not parsed, until the block is whole."""
    out.parsed -= len(fragment)
    block.fragments += fragment
    half.block = block
    if len(block.fragments) > out.limits.head or block.too_large:
        half.block = block = _overflow(half, block, out)
    if frame.flags & _END_HEADERS:
        half.block = None
        if not block.too_large:
            _block(http, half, block, out)


def _overflow(half: Half, block: OpenBlock, out: Emission) -> OpenBlock:
    """The block can't be read any more, so the table can't be followed."""
    out.malformed(_block_malformed(half, block, "header block too large", out))
    hpack.forget(half.table)
    block.fragments, block.too_large = b"", True
    return block


def _block(http: Http2, half: Half, block: OpenBlock, out: Emission) -> None:
    found = hpack.decode(half.table, block.fragments, out.limits.head)
    if found is None:
        out.malformed(_block_malformed(half, block, "malformed header block", out))
        return
    out.parsed += len(block.fragments)
    if found.too_large:
        block.fragments = b""
        out.malformed(_block_malformed(half, block, "header list too large", out))
    if not block.promised:
        streams.headers(http.streams, half.direction, _head(block, found), out)


def _head(block: OpenBlock, found: hpack.Block) -> streams.Head:
    return streams.Head(
        stream=block.stream, end_stream=block.end_stream, started_ns=block.started_ns,
        fields=found.fields, size=found.size,
    )


def _block_malformed(half: Half, block: OpenBlock, reason: str, out: Emission) -> MalformedFrame:
    return MalformedFrame(
        connection=out.connection, time_ns=out.time_ns, direction=half.direction,
        stream=block.stream, protocol="http/2", reason=reason, bytes=len(block.fragments),
    )


def _reset(http: Http2, half: Half, frame: Frame, payload: bytes, out: Emission) -> bool:
    if len(payload) != 4:
        return False
    streams.reset(http.streams, half.direction, frame.stream, int.from_bytes(payload), out)
    return True


def _goaway(http: Http2, half: Half, _: Frame, payload: bytes, out: Emission) -> bool:
    if len(payload) < 8:
        return False
    last = int.from_bytes(payload[:4]) & _STREAM_MASK
    streams.go_away(http.streams, half.direction, last, int.from_bytes(payload[4:8]), out)
    return True


_PREFACE_KIND, _PREFACE_LENGTH = detection.PREFACE[3], int.from_bytes(detection.PREFACE[:3])
_Action = Callable[[Http2, Half, Frame, bytes, Emission], bool]
# SETTINGS need no action: an encoder announces each change of its table's size in a header block.
_ACTIONS: dict[int, _Action] = {
    HEADERS: _headers,
    PUSH_PROMISE: _push_promise,
    CONTINUATION: _continuation,
    RST_STREAM: _reset,
    GOAWAY: _goaway,
}
