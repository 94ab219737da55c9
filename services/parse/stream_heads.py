"""Header blocks of HTTP/2 as heads: which is a request, a response, an interim one, or trailers.

Knows pseudo-header fields (RFC 9113 §8.3) and what CONNECT makes of a stream (RFC 9113 §8.5, RFC
8441); how blocks are put together is http2_blocks.py's.
"""

from __future__ import annotations

from msgspec import Struct

from services.messages import Direction, Headers, InterimHead, RequestHead, ResponseHead, Role
from services.parse import contents, streams
from services.parse.emission import Emission
from services.parse.hpack import Field
from services.parse.streams import Stream, Streams

_UNNAMED = 64  # of a field beside its texts, when encoded


class Head(Struct, frozen=True, kw_only=True):
    """A whole header block; `pseudo` and `regular` are its fields."""

    stream: int
    end_stream: bool
    started_ns: int
    pseudo: dict[str, str | None]
    regular: Headers
    partial: bool  # a name is not known
    size: int


def head(stream: int, end_stream: bool, started_ns: int, fields: list[Field], size: int) -> Head:
    pseudo: dict[str, str | None] = {}
    regular = []
    partial = False
    for field in fields:
        name = field[0]
        if name is None:
            partial = True
            regular.append(field)
        elif name[:1] == ":":
            pseudo[name] = field[1]
        else:
            regular.append(field)
    return Head(
        stream=stream, end_stream=end_stream, started_ns=started_ns, pseudo=pseudo,
        regular=tuple(regular), partial=partial, size=size,
    )  # fmt: skip


def headers(known: Streams, direction: Direction, found: Head, out: Emission) -> None:
    if known.client is None:
        if ":method" in found.pseudo:
            known.client = direction
        elif ":status" in found.pseudo:
            known.client = Direction(1 - direction)
    side = streams.side_of(known, direction)
    stream = streams.opened(known, found.stream, out)
    if side is None or stream is None:
        out.count("header_blocks_without_exchange")
        return
    half = stream.request if side == "request" else stream.response
    if half.head or not (found.pseudo or found.partial):
        _trailers(known, direction, found, out)
    elif side == "request":
        half.head = True
        _request(known, stream, direction, found, out)
    else:
        half.head = _response(known, stream, direction, found, out)
    if found.end_stream and not half.ended:
        streams.end(known, direction, found.stream, (), out)


def promise(known: Streams, direction: Direction, found: Head, out: Emission) -> None:
    """A request that the server made up (RFC 9113 §8.4): it answers it on that stream."""
    if known.client is None:
        known.client = Direction(1 - direction)
    stream = streams.opened(known, found.stream, out)
    if stream is None or direction == known.client:
        out.count("header_blocks_without_exchange")
        return
    out.count("streams_pushed")
    stream.request.head = True
    _emit_request(known, Direction(1 - direction), found, out, pushed=True)
    streams.end(known, known.client, found.stream, (), out)


def _request(
    known: Streams, stream: Stream, direction: Direction, found: Head, out: Emission
) -> None:
    media = contents.value_of(found.regular, "content-type")
    contents.begin(stream.request, media, found.regular, out)
    _emit_request(known, direction, found, out, pushed=False)
    if found.pseudo.get(":method") != "CONNECT":
        return
    number = known.base + found.stream
    contents.end(stream.request, number, "request", (), out)
    stream.request.told = True
    stream.turning = found.pseudo.get(":protocol") or "tunnel"
    _upgrade(known, stream, found.stream, direction)


def _upgrade(known: Streams, stream: Stream, number: int, direction: Direction) -> None:
    sender: Role = "client" if direction == known.client else "server"
    half = stream.request if sender == "client" else stream.response
    speaks = sender if stream.turning == "websocket" else None
    contents.upgrade(half, direction, known.base + number, speaks)


def _emit_request(
    known: Streams, direction: Direction, found: Head, out: Emission, *, pushed: bool
) -> None:
    pseudo, regular = found.pseudo, found.regular
    authority = pseudo.get(":authority")
    if authority is None and ":authority" not in pseudo:
        authority = contents.value_of(regular, "host")
    if ":protocol" in pseudo:  # RFC 8441
        regular = ((":protocol", pseudo[":protocol"]), *regular)
    out.emit(
        RequestHead(
            connection=out.connection, time_ns=found.started_ns, stream=known.base + found.stream,
            protocol="http/2", direction=direction, method=pseudo.get(":method"),
            scheme=pseudo.get(":scheme"), authority=authority, path=pseudo.get(":path"),
            headers=regular, hpack_partial=found.partial, pushed=pushed,
        ),
        _encoded(found),
    )  # fmt: skip


def _response(
    known: Streams, stream: Stream, direction: Direction, found: Head, out: Emission
) -> bool:
    """Whether it is the final response."""
    text = found.pseudo.get(":status") or ""
    status = int(text) if len(text) == 3 and text.isascii() and text.isdigit() else None
    if status is not None and 100 <= status < 200:
        _interim(known, found, status, out)
        return False
    media = contents.value_of(found.regular, "content-type")
    contents.begin(stream.response, media, found.regular, out)
    turned = stream.turning if status is not None and 200 <= status < 300 else ""
    out.emit(
        ResponseHead(
            connection=out.connection, time_ns=found.started_ns, stream=known.base + found.stream,
            protocol="http/2", direction=direction, status=status, headers=found.regular,
            hpack_partial=found.partial, upgraded=turned,
        ),
        _encoded(found),
    )  # fmt: skip
    if turned:
        if turned != "websocket":
            number = known.base + found.stream
            contents.end(stream.response, number, "response", (), out)
            stream.response.told = True
        _upgrade(known, stream, found.stream, direction)
    elif stream.turning:
        stream.request.content = None
    return True


def _interim(known: Streams, found: Head, status: int, out: Emission) -> None:
    out.emit(
        InterimHead(
            connection=out.connection, time_ns=found.started_ns, stream=known.base + found.stream,
            status=status, headers=found.regular,
        ),
        _encoded(found),
    )  # fmt: skip


def _trailers(known: Streams, direction: Direction, found: Head, out: Emission) -> None:
    """Only the end of a stream has them; without it they are kept for nothing."""
    if found.end_stream:
        streams.end(known, direction, found.stream, found.regular, out)
    else:
        out.count("header_blocks_without_exchange")


def _encoded(found: Head) -> int:
    return 2 * found.size + _UNNAMED
