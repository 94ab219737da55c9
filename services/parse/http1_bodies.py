"""Bodies of HTTP/1 messages (RFC 9112 §6, §7): by length, in chunks, or until the close.

Each reader takes what there is of the data from a position on and answers where it stopped. Bytes
of content are handed on at once; only an unfinished line waits in the buffer.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from services.parse import contents, detection, fields
from services.parse.emission import Emission
from services.parse.http1_state import Half, Http1, Phase, end, malformed

_HEAD_END = re.compile(rb"\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\Z", re.DOTALL)
_MAX_LINE = 4096


def begin_body(http: Http1, half: Half, found: fields.Framing, out: Emission) -> None:
    """RFC 9112 §6.3: chunked before Content-Length; without both a response ends by the close."""
    if found.chunked:
        half.phase = Phase.CHUNK_SIZE
    elif found.length is not None and not found.coded:
        half.phase, half.remaining = Phase.LENGTH, found.length
        if not found.length:
            end(http, half, (), out)
    elif half is http.request:
        end(http, half, (), out)
    else:
        half.phase = Phase.UNTIL_CLOSE


def content(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    end = min(position + half.remaining, len(data))
    out.parsed += end - position
    half.remaining -= end - position
    contents.receive(half, half.stream, half.side, data[position:end], out)
    if not half.remaining:
        BODY_DONE[half.phase](http, half, out)
    return end


def until_close(_: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    out.parsed += len(data) - position
    contents.receive(half, half.stream, half.side, data[position:], out)
    half.last_ns = out.time_ns
    return len(data)


def followed_by_message(half: Half, block: bytes) -> bool | None:
    """Whether what looks like a body is the next message's head: then this response answered a
    HEAD, or had none for a reason that was not seen; or this request's body was not wanted. None
    where more must be seen."""
    if half.side == "request":
        first, may_be = detection.REQUEST_LINE, detection.may_be_request_line
    else:
        first, may_be = detection.STATUS_LINE, detection.may_be_status_line
    if half.after == Phase.HEAD or first.match(block):
        return True
    return None if may_be(block) else False


def chunk_size(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    before = len(half.buffer)
    block = half.buffer + data[position : position + _MAX_LINE + 1 - before]
    stop = block.find(b"\n") + 1
    if not stop and len(block) <= _MAX_LINE:
        half.buffer = block
        return position + len(block) - before
    line, half.buffer = block[:stop] if stop else block, b""
    size = _CHUNK_SIZE.match(line.rstrip(b"\r\n")) if stop else None
    if size is None:
        malformed(http, half, "no chunk size", len(line), out)
    else:
        out.parsed += len(line)
        half.remaining = int(size[1], 16)
        half.phase = Phase.CHUNK if half.remaining else Phase.TRAILERS
    return position + len(line) - before


def chunk_end(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    byte = data[position]
    if byte == 0x0D and not half.buffer:
        half.buffer = b"\r"
    elif byte == 0x0A:
        out.parsed += len(half.buffer) + 1
        half.buffer = b""
        half.phase = Phase.CHUNK_SIZE
    else:
        malformed(http, half, "no end of chunk", len(half.buffer) + 1, out)
    return position + 1


def trailers(http: Http1, half: Half, data: memoryview, position: int, out: Emission) -> int:
    before = len(half.buffer)
    block = half.buffer + data[position : position + out.limits.head + 1 - before]
    stop = _end_of_trailers(block, max(before - 2, 0))
    if not stop and len(block) <= out.limits.head:
        half.buffer = block
        return position + len(block) - before
    half.buffer, found = b"", fields.fields(block[:stop]) if stop else None
    if found is None:
        malformed(http, half, "no trailers", stop or len(block), out)
    else:
        out.parsed += stop
        end(http, half, found.headers, out)
    return position + (stop or len(block)) - before


def _end_of_trailers(block: bytes, scanned: int) -> int:
    if block[:1] == b"\n":
        return 1
    if block[:2] == b"\r\n":
        return 2
    found = _HEAD_END.search(block, scanned)
    return found.end() if found else 0


def _chunk_done(_: Http1, half: Half, __: Emission) -> None:
    half.phase = Phase.CHUNK_END


def _length_done(http: Http1, half: Half, out: Emission) -> None:
    end(http, half, (), out)


BODY_DONE: dict[Phase, Callable[[Http1, Half, Emission], None]] = {
    Phase.LENGTH: _length_done,
    Phase.CHUNK: _chunk_done,
}
