"""Header blocks of HTTP/2 (RFC 9113 §4.3): put together from frames, decoded, given to streams.

A block is bounded; one that is too large is not kept, and the table can't be followed past it.
"""

from __future__ import annotations

from services.parse import hpack, stream_heads
from services.parse.emission import Emission, Fault
from services.parse.http2_state import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    STREAM_MASK,
    WITH_PRIORITY,
    Frame,
    Half,
    Http2,
    OpenBlock,
)


def headers(http: Http2, half: Half, frame: Frame, payload: bytes, out: Emission) -> bool:
    start = 5 if frame.flags & WITH_PRIORITY else 0
    fragment = _unpadded(frame, payload, start)
    if fragment is None or not frame.stream:
        return False
    _fragment(http, half, frame, _begin(half, frame), fragment, out)
    return True


def push_promise(http: Http2, half: Half, frame: Frame, payload: bytes, out: Emission) -> bool:
    fragment = _unpadded(frame, payload, 4)
    if fragment is None:
        return False
    start = 1 if frame.flags & PADDED else 0
    block = _begin(half, frame)
    block.promised = int.from_bytes(payload[start : start + 4]) & STREAM_MASK
    _fragment(http, half, frame, block, fragment, out)
    return True


def continuation(http: Http2, half: Half, frame: Frame, payload: bytes, out: Emission) -> bool:
    if half.block is None:
        return False
    out.count("h2_continuations")
    _fragment(http, half, frame, half.block, payload, out)
    return True


def _unpadded(frame: Frame, payload: bytes, start: int) -> bytes | None:
    padding = 0
    if frame.flags & PADDED:
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
    half.block = block
    if block.too_large:
        out.skip(half.direction, "http/2", len(fragment))
    else:
        block.fragments += fragment
        if len(block.fragments) > out.limits.head:
            _overflow(half, block, out)
    if frame.flags & END_HEADERS:
        half.block = None
        if not block.too_large:
            _block(http, half, block, out)


def _overflow(half: Half, block: OpenBlock, out: Emission) -> None:
    """The block can't be read any more, so the table can't be followed."""
    _report(half, block, "header block too large", out)
    hpack.forget(half.table)
    block.fragments, block.too_large = b"", True


def _report(half: Half, block: OpenBlock, reason: str, out: Emission) -> None:
    out.malformed(half.direction, Fault("http/2", reason, len(block.fragments), block.stream))


def _block(http: Http2, half: Half, block: OpenBlock, out: Emission) -> None:
    found = hpack.decode(half.table, block.fragments, out.limits.head)
    if found is None:
        _report(half, block, "malformed header block", out)
        return
    out.parsed += len(block.fragments)
    if found.too_large:
        out.malformed(half.direction, Fault("http/2", "header list too large", 0, block.stream))
    act = stream_heads.promise if block.promised else stream_heads.headers
    head = stream_heads.head(
        block.promised or block.stream, block.end_stream, block.started_ns,
        found.fields, found.size,
    )  # fmt: skip
    act(http.streams, half.direction, head, out)


def pass_over(half: Half, frame: Frame, out: Emission) -> None:
    """A frame of a block is larger than blocks may be, and not read."""
    half.block = half.block or _begin(half, frame)
    if not half.block.too_large:
        _overflow(half, half.block, out)
    if frame.flags & END_HEADERS:
        half.block = None


def _begin(half: Half, frame: Frame) -> OpenBlock:
    return OpenBlock(
        stream=frame.stream,
        end_stream=frame.kind == HEADERS and bool(frame.flags & END_STREAM),
        started_ns=half.started_ns,
    )
