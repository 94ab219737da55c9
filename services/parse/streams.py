"""HTTP/2 streams as exchanges: which header block is a request, a response, an interim or trailers.

Knows streams and roles; knows neither frames nor HPACK. Who is the client is known from the
preface, or, joined in the middle, from the first block that has a method or a status.
"""

from __future__ import annotations

from msgspec import Struct

from services.messages import (
    Direction,
    EndFrame,
    GapFrame,
    Headers,
    InterimHead,
    RequestHead,
    ResetFrame,
    ResponseHead,
    Side,
)
from services.parse.emission import Emission
from services.parse.hpack import Field
from services.parse.reassembly import Hole

_GENERATION = 1 << 31  # above any stream id: a TLS object that is used again begins a new range
_MAX_IGNORED = 64
_UNNAMED = 64  # of a field beside its texts, when encoded


class Half(Struct, array_like=True):
    head: bool = False
    ended: bool = False
    size: int = 0


class Stream(Struct, array_like=True):
    request: Half
    response: Half


class Streams(Struct):
    """`begun`: another preface than the first one begins them anew."""

    client: Direction | None
    open: dict[int, Stream] = {}
    ignored: list[int] = []  # reset or pushed: what still comes of them is no exchange
    base: int = 0
    begun: bool = False


class Head(Struct, frozen=True, kw_only=True):
    """A whole header block."""

    stream: int
    end_stream: bool
    started_ns: int
    fields: list[Field]
    size: int


def begin_anew(streams: Streams, client: Direction) -> None:
    """After a preface; the first one may come late, after the server's answers."""
    if streams.begun:
        streams.base += _GENERATION
        streams.open, streams.ignored = {}, []
    streams.client, streams.begun = client, True


def headers(streams: Streams, direction: Direction, head: Head, out: Emission) -> None:
    pseudo = {name: value for name, value in head.fields if name and name[0] == ":"}
    if streams.client is None:
        if ":method" in pseudo:
            streams.client = direction
        elif ":status" in pseudo:
            streams.client = Direction(1 - direction)
    side = _side(streams, direction)
    stream = _open(streams, head.stream, out)
    if side is None or stream is None:
        out.count("header_blocks_without_exchange")
        return
    half = stream.request if side == "request" else stream.response
    regular = tuple(field for field in head.fields if not field[0] or field[0][0] != ":")
    if half.head or not (pseudo or _has_unknown(head)):
        _trailers(streams, direction, head, regular, out)
    elif side == "request":
        _request(streams, direction, head, pseudo, regular, out)
        half.head = True
    else:
        half.head = _response(streams, direction, head, pseudo, regular, out)
    if head.end_stream and not half.ended:
        end(streams, direction, head.stream, (), out)


def data(
    streams: Streams, direction: Direction, number: int, view: memoryview, out: Emission
) -> None:
    side, stream = _side(streams, direction), _open(streams, number, out)
    if side is None or stream is None:
        out.count("data_without_exchange")
        return
    half = stream.request if side == "request" else stream.response
    out.body(streams.base + number, side, half.size, view)
    half.size += len(view)


def end(
    streams: Streams, direction: Direction, number: int, trailers: Headers, out: Emission
) -> None:
    side, stream = _side(streams, direction), _open(streams, number, out)
    if side is None or stream is None:
        return
    half = stream.request if side == "request" else stream.response
    half.ended = True
    out.emit(
        EndFrame(
            connection=out.connection,
            time_ns=out.time_ns,
            stream=streams.base + number,
            side=side,
            size=half.size,
            trailers=trailers,
        ),
        out.limits.head * 2 if trailers else 0,
    )
    if stream.request.ended and stream.response.ended:
        del streams.open[number]


def reset(streams: Streams, direction: Direction, number: int, code: int, out: Emission) -> None:
    if number in streams.ignored:
        return
    streams.open.pop(number, None)
    ignore(streams, number)
    out.emit(
        ResetFrame(
            connection=out.connection,
            time_ns=out.time_ns,
            stream=streams.base + number,
            code=code,
            direction=direction,
        )
    )


def go_away(streams: Streams, direction: Direction, last: int, code: int, out: Emission) -> None:
    """Streams above `last` that the other side began were refused (RFC 9113 §6.8)."""
    if streams.client is None or direction == streams.client:
        return
    for number in [number for number in streams.open if number > last]:
        reset(streams, direction, number, code, out)


def gap(streams: Streams, direction: Direction, number: int, hole: Hole, out: Emission) -> None:
    side, stream = _side(streams, direction), _open(streams, number, out)
    known = side is not None and stream is not None
    at, part = hole.offset, direction.name.lower()
    if side is not None and stream is not None:
        half = stream.request if side == "request" else stream.response
        at, part = half.size, f"{side}.body"
        half.size += hole.size()
    for offset, reason, size in hole.parts(at):
        out.emit(
            GapFrame(
                connection=out.connection,
                time_ns=out.time_ns,
                stream=streams.base + number if known else None,
                part=part,
                offset=offset,
                bytes=size,
                reason=reason,
            )
        )


def ignore(streams: Streams, number: int) -> None:
    streams.ignored.append(number)
    del streams.ignored[:-_MAX_IGNORED]


def _side(streams: Streams, direction: Direction) -> Side | None:
    if streams.client is None:
        return None
    return "request" if direction == streams.client else "response"


def _open(streams: Streams, number: int, out: Emission) -> Stream | None:
    stream = streams.open.get(number)
    if stream is None and number not in streams.ignored:
        stream = streams.open[number] = Stream(Half(), Half())
        if len(streams.open) > out.limits.streams:
            del streams.open[next(iter(streams.open))]
            out.count("streams_dropped")
    return stream


def _has_unknown(head: Head) -> bool:
    return any(name is None for name, _ in head.fields)


def _encoded(head: Head) -> int:
    return 2 * head.size + _UNNAMED


def _request(
    streams: Streams,
    direction: Direction,
    head: Head,
    pseudo: dict[str, str | None],
    regular: Headers,
    out: Emission,
) -> None:
    authority = pseudo.get(":authority")
    if authority is None and ":authority" not in pseudo:
        authority = next((value for name, value in regular if name == "host"), None)
    if ":protocol" in pseudo:  # RFC 8441
        regular = ((":protocol", pseudo[":protocol"]), *regular)
    out.emit(
        RequestHead(
            connection=out.connection,
            time_ns=head.started_ns,
            stream=streams.base + head.stream,
            protocol="http/2",
            direction=direction,
            method=pseudo.get(":method"),
            scheme=pseudo.get(":scheme"),
            authority=authority,
            path=pseudo.get(":path"),
            headers=regular,
            hpack_partial=_has_unknown(head),
        ),
        _encoded(head),
    )


def _response(
    streams: Streams,
    direction: Direction,
    head: Head,
    pseudo: dict[str, str | None],
    regular: Headers,
    out: Emission,
) -> bool:
    """Whether it is the final response."""
    text = pseudo.get(":status") or ""
    status = int(text) if len(text) == 3 and text.isascii() and text.isdigit() else None
    if status is not None and 100 <= status < 200:
        out.emit(
            InterimHead(
                connection=out.connection,
                time_ns=head.started_ns,
                stream=streams.base + head.stream,
                status=status,
                headers=regular,
            ),
            _encoded(head),
        )
        return False
    out.emit(
        ResponseHead(
            connection=out.connection,
            time_ns=head.started_ns,
            stream=streams.base + head.stream,
            protocol="http/2",
            direction=direction,
            status=status,
            headers=regular,
            hpack_partial=_has_unknown(head),
        ),
        _encoded(head),
    )
    return True


def _trailers(
    streams: Streams, direction: Direction, head: Head, regular: Headers, out: Emission
) -> None:
    """Only the end of a stream has them; without it they are kept for nothing."""
    if head.end_stream:
        end(streams, direction, head.stream, regular, out)
    else:
        out.count("header_blocks_without_exchange")
