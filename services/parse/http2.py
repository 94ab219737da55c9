"""HTTP/2 as an observer reads it (RFC 9113): the frames of both directions.

Header blocks and streams have modules of their own. A gap in the middle of a DATA frame is only a
hole in a body; any other loses the direction until a record begins with a frame header that can be
proven, and makes its header table partial. State is plain data.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from services.messages import Direction
from services.parse import detection, hpack, http2_blocks, streams
from services.parse.emission import Emission, Fault
from services.parse.http2_state import (
    CONTINUATION,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PUSH_PROMISE,
    RST_STREAM,
    STREAM_MASK,
    Frame,
    Half,
    Http2,
    Payload,
    drop_buffer,
    lose,
)
from services.parse.reassembly import Hole
from services.parse.streams import Streams

__all__ = ["Http2", "begin", "close", "gap", "held", "receive", "weight"]

_HEADER = struct.Struct(">HBBBL")
_SIZE = _HEADER.size
_AHEAD = 4096  # of stream numbers, that a loss may have hidden
_MAX_CONTROL = 64 * 1024  # larger frames than this, but for DATA, are passed over
_BLOCK_KINDS = frozenset({HEADERS, PUSH_PROMISE, CONTINUATION})
_PREFACE_KIND, _PREFACE_LENGTH = detection.PREFACE[3], int.from_bytes(detection.PREFACE[:3])


def begin(client: Direction | None, *, partial: bool) -> Http2:
    egress, ingress = (
        Half(direction=direction, table=hpack.Table(partial=partial)) for direction in Direction
    )
    return Http2((egress, ingress), Streams(client=client, begun=partial))


def receive(http: Http2, direction: Direction, data: memoryview, out: Emission) -> None:
    half = http.halves[direction]
    if half.lost:
        if not _is_proof(http, data):
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
    lose(half, out)
    streams.tear(http.streams, direction, hole, out)


def close(http: Http2, out: Emission) -> None:
    for half in http.halves:
        drop_buffer(half, out)
    streams.close(http.streams, out)


def held(http: Http2) -> int:
    return sum(
        len(half.buffer) + (len(half.block.fragments) if half.block else 0) for half in http.halves
    ) + sum(streams.held(http.streams))


def weight(http: Http2) -> int:
    """What its state takes beside what every connection's does, about."""
    egress, ingress = http.halves
    tables = egress.table.size + ingress.table.size
    if not (http.streams.open or egress.buffer or ingress.buffer or egress.block or ingress.block):
        return tables  # between exchanges, as most connections are
    return held(http) + tables + sum(streams.weight(http.streams))


def _is_proof(http: Http2, data: memoryview) -> bool:
    """That a record begins with a frame header: all that lie in it are possible, at least one frame
    is whole, and their streams are not far from those that are known; or several fill it exactly,
    or it is one that goes on behind the record, of a stream that is open."""
    found = detection.frames(data)
    if found is None:
        return False
    if not found.whole:
        return found.highest in http.streams.open
    known = http.streams.highest
    return not known or found.highest <= known + _AHEAD or (found.whole > 1 and found.exact)


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
        frame = Frame(kind, flags, stream & STREAM_MASK, high << 8 | low)
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
        return _malformed(http, half, "header block interrupted", data, at, out)
    if frame.kind == DATA:
        return _begin_data(http, half, frame, data, at, out)
    if frame.kind > CONTINUATION or frame.length > _MAX_CONTROL:
        return _pass_over(half, frame, at, out)
    start = at + _SIZE
    end = start + frame.length
    if end > len(data):
        return 0
    act = _ACTIONS.get(frame.kind)
    out.parsed += end - at
    if act is None:
        out.count("h2_control_frames")  # floods of them cost their reading, and nothing more
    elif not act(http, half, frame, bytes(data[start:end]), out):
        out.parsed -= end - at
        return _malformed(http, half, f"malformed frame of kind {frame.kind}", data, at, out)
    return end


def _malformed(
    http: Http2, half: Half, reason: str, data: memoryview, at: int, out: Emission
) -> int:
    """From here on opaque, until a record begins with what is a frame header beyond doubt."""
    out.malformed(half.direction, Fault("http/2", reason, len(data) - at))
    lose(half, out)
    streams.tear(http.streams, half.direction, None, out)
    return len(data)


def _preface(http: Http2, half: Half, data: memoryview, at: int, out: Emission) -> int:
    """At the beginning; or anew, when a TLS object is used for another connection."""
    end = at + len(detection.PREFACE)
    if end > len(data):
        return 0
    if data[at:end] != detection.PREFACE:
        return _malformed(http, half, "malformed preface", data, at, out)
    out.parsed += end - at
    if http.streams.begun:
        for other in http.halves:
            other.table, other.payload = hpack.Table(), None
            if other is not half:
                drop_buffer(other, out)
    streams.begin_anew(http.streams, half.direction, out)
    return end


def _begin_data(
    http: Http2, half: Half, frame: Frame, data: memoryview, at: int, out: Emission
) -> int:
    padding, start = 0, at + _SIZE
    if frame.flags & PADDED and frame.length:
        if start >= len(data):
            return 0
        padding = data[start] + 1
        start += 1
    if padding > frame.length or not frame.stream:
        return _malformed(http, half, "malformed frame of kind 0", data, at, out)
    content = frame.length - padding
    out.parsed += start - at
    half.payload = Payload(
        frame.stream, content, max(padding - 1, 0), bool(frame.flags & END_STREAM), False
    )
    return start


def _pass_over(half: Half, frame: Frame, at: int, out: Emission) -> int:
    out.parsed += _SIZE
    out.count("frames_passed_over")
    half.payload = Payload(frame.stream, frame.length, 0, False, True)
    if frame.kind in _BLOCK_KINDS:
        http2_blocks.pass_over(half, frame, out)
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


def _reset(http: Http2, half: Half, frame: Frame, payload: bytes, out: Emission) -> bool:
    if len(payload) != 4:
        return False
    streams.reset(http.streams, half.direction, frame.stream, int.from_bytes(payload), out)
    return True


def _goaway(http: Http2, half: Half, _: Frame, payload: bytes, out: Emission) -> bool:
    if len(payload) < 8:
        return False
    last = int.from_bytes(payload[:4]) & STREAM_MASK
    streams.go_away(http.streams, half.direction, last, int.from_bytes(payload[4:8]), out)
    return True


_Action = Callable[[Http2, Half, Frame, bytes, Emission], bool]
# SETTINGS need no action: an encoder announces each change of its table's size in a header block.
_ACTIONS: dict[int, _Action] = {
    HEADERS: http2_blocks.headers,
    PUSH_PROMISE: http2_blocks.push_promise,
    CONTINUATION: http2_blocks.continuation,
    RST_STREAM: _reset,
    GOAWAY: _goaway,
}
