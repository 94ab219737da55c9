"""An HTTP/2 connection as plain data: both directions, each with the frame that it is in.

With what every part of the reader does to it: lose a direction. Knows the numbers of RFC 9113, not
their meaning.
"""

from __future__ import annotations

from msgspec import Struct

from services.messages import Direction
from services.parse import hpack
from services.parse.emission import Emission
from services.parse.streams import Streams

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW, CONTINUATION = (
    range(10)
)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x4, 0x8, 0x20


STREAM_MASK = 0x7FFFFFFF


class Payload(Struct, array_like=True, gc=False):
    """The rest of a DATA frame, or of one to pass over: handed on as it comes, not buffered."""

    stream: int
    content: int
    padding: int
    end_stream: bool
    passed_over: bool


class OpenBlock(Struct, array_like=True):
    """A header block until END_HEADERS, of the stream that it has `promised`, if any.
    `too_large`: its bytes are not kept."""

    stream: int
    end_stream: bool
    started_ns: int
    promised: int = 0
    fragments: bytes = b""
    too_large: bool = False


class Half(Struct, gc=False):
    direction: Direction
    table: hpack.Table
    buffer: bytes = b""
    started_ns: int = 0
    payload: Payload | None = None
    block: OpenBlock | None = None
    lost: bool = False


class Http2(Struct, tag="http2", gc=False):
    halves: tuple[Half, Half]
    streams: Streams


class Frame(Struct, frozen=True, gc=False):
    kind: int
    flags: int
    stream: int
    length: int


def drop_buffer(half: Half, out: Emission) -> None:
    out.skip(half.direction, "http/2", len(half.buffer))
    if half.block:
        out.skip(half.direction, "http/2", len(half.block.fragments))
    half.buffer, half.block = b"", None


def lose(half: Half, out: Emission) -> None:
    drop_buffer(half, out)
    half.payload, half.lost = None, True
    hpack.forget(half.table)
