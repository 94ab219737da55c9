"""Which protocol a connection speaks, from the first bytes of one direction.

Three answers: a protocol, unknown, or need more bytes. Asks in order of certainty. Knows nothing
of connections; what it says of bytes in the middle of a connection is proof only at a record's
start, where TLS stacks begin messages.
"""

from __future__ import annotations

import re
import struct
from enum import Enum
from typing import NamedTuple

from services.parse import websocket_frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_MAX_LINE = 16 * 1024

REQUEST_LINE = re.compile(rb"[A-Z][A-Z-]{0,31} [^\s]+ HTTP/1\.[01]\r?\n")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-5][0-9]{2}(?: [^\r\n]*)?\r?\n")
_REQUEST_PREFIX = re.compile(rb"[A-Z][A-Z-]{0,31}(?: (?:[^\s]+(?: [HTP/1.0\r]*)?)?)?\Z")
_STATUS_PREFIX = re.compile(rb"HTTP/1\.[01](?: [^\n]*)?\Z")

_MAX_EMPTY = 1024  # bytes of empty lines: all that is undecided is looked at with each record
_PROVEN_FRAMES = 2  # of WebSocket, filling records exactly
_FRAME = struct.Struct(">HBBBL")
FRAME_HEADER = _FRAME.size
_MAX_FRAME = 16 * 1024
_SETTINGS = 4
# (on a stream, not, or either; flags that are defined; least and most bytes) by kind, RFC 9113 §6
_KINDS: tuple[tuple[bool | None, int, int, int], ...] = (
    (True, 0x09, 0, _MAX_FRAME),  # DATA
    (True, 0x2D, 1, _MAX_FRAME),  # HEADERS
    (True, 0x00, 5, 5),  # PRIORITY
    (True, 0x00, 4, 4),  # RST_STREAM
    (False, 0x01, 0, _MAX_FRAME),  # SETTINGS
    (True, 0x0C, 5, _MAX_FRAME),  # PUSH_PROMISE
    (False, 0x01, 8, 8),  # PING
    (False, 0x00, 8, _MAX_FRAME),  # GOAWAY
    (None, 0x00, 4, 4),  # WINDOW_UPDATE
    (True, 0x04, 0, _MAX_FRAME),  # CONTINUATION
)


class Detected(Enum):
    HTTP1_REQUEST = "http1 request"
    HTTP1_RESPONSE = "http1 response"
    HTTP2_CLIENT = "http2 client"
    HTTP2 = "http2"
    WEBSOCKET_CLIENT = "websocket client"
    WEBSOCKET_SERVER = "websocket server"
    UNKNOWN = "unknown"
    MORE = "more"


def detect(data: bytes) -> Detected:
    size = len(data)
    data = data.lstrip(b"\r\n")  # empty lines may precede a message of HTTP/1 (RFC 9112 §2.2)
    if size - len(data) > _MAX_EMPTY:
        return Detected.UNKNOWN
    # 1. The preface is proof, and nothing else begins like it.
    if data.startswith(PREFACE):
        return Detected.HTTP2_CLIENT
    if PREFACE.startswith(data):
        return Detected.MORE
    # 2. Lines of HTTP/1 are proof when they are whole.
    if REQUEST_LINE.match(data):
        return Detected.HTTP1_REQUEST
    if STATUS_LINE.match(data):
        return Detected.HTTP1_RESPONSE
    # 3. Frame headers of HTTP/2 are plausible at best, so all that are there must be.
    if _begins_frames(data):
        return Detected.HTTP2 if len(data) >= FRAME_HEADER else Detected.MORE
    return _undecided(data)


def detect_joined(data: bytes) -> Detected:
    """In the middle of a connection, of bytes that begin and end where records do."""
    found = detect(data)
    if found not in (Detected.UNKNOWN, Detected.MORE):
        return found
    if (found_frames := frames(data)) is not None:
        # Of one header alone that goes on behind the record, the next record tells.
        return Detected.HTTP2 if found_frames.whole else Detected.MORE
    chain = websocket_frames.chain(data)
    if chain is None:
        return Detected.UNKNOWN
    count, masked = chain
    if count < _PROVEN_FRAMES:
        return Detected.MORE  # the next record tells
    return Detected.WEBSOCKET_CLIENT if masked else Detected.WEBSOCKET_SERVER


def may_be_request_line(data: bytes) -> bool:
    return len(data) <= _MAX_LINE and bool(_REQUEST_PREFIX.match(data))


def may_be_status_line(data: bytes) -> bool:
    return len(data) <= _MAX_LINE and bool(
        b"HTTP/1.".startswith(data) or _STATUS_PREFIX.match(data)
    )


def _undecided(data: bytes) -> Detected:
    # 4. What may still become a line of HTTP/1.
    if len(data) > _MAX_LINE:
        return Detected.UNKNOWN
    if may_be_status_line(data) or _REQUEST_PREFIX.match(data):
        return Detected.MORE
    return Detected.UNKNOWN


def _begins_frames(data: bytes) -> bool:
    """A connection begins with SETTINGS, which tells more than any other frame header."""
    if len(data) < FRAME_HEADER:
        return data[:1] == b"\0" and not any(data[3:4].strip(b"\4"))
    return data[3] == 4 and frames_plausible(data)


def frames_plausible(data: bytes | memoryview) -> bool:
    """All frame headers that lie in `data`, which begins with one, are possible ones."""
    return frames(data) is not None


class Frames(NamedTuple):
    """How many whole ones lie in a record, whether it ends with one, and the highest stream."""

    whole: int
    exact: bool
    highest: int


def frames(data: bytes | memoryview) -> Frames | None:
    """None where a header is none that is possible: lengths beyond the default of 16 KiB and flags
    that are not defined don't count as that."""
    position, size, count, highest = 0, len(data), 0, 0
    if size < FRAME_HEADER:
        return None
    while position + FRAME_HEADER <= size:
        high, low, kind, flags, stream = _FRAME.unpack_from(data, position)
        length = high << 8 | low
        if not _plausible(length, kind, flags, stream):
            return None
        position += FRAME_HEADER + length
        count += 1
        highest = max(highest, stream)
    return Frames(count - (position > size), position == size, highest)


def _plausible(length: int, kind: int, flags: int, stream: int) -> bool:
    if kind >= len(_KINDS) or stream >> 31 or length > _MAX_FRAME:
        return False
    on_stream, allowed, least, most = _KINDS[kind]
    if flags & ~allowed or not least <= length <= most:
        return False
    if on_stream is not None and on_stream != (stream != 0):
        return False
    if kind == _SETTINGS:
        return length % 6 == 0 and not (flags and length)
    return True
