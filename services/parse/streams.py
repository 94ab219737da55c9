"""HTTP/2 streams as exchanges: what comes on one, how it ends, what a loss leaves of it.

Knows streams and roles; knows neither frames nor HPACK; heads are stream_heads.py's. Who is the
client is known from the preface, or, joined in the middle, from the first block that has a method
or a status.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from services.messages import Direction, Headers, ResetFrame, Side
from services.parse import contents
from services.parse.contents import Body
from services.parse.emission import Emission
from services.parse.reassembly import Hole
from services.parse.websocket_messages import Half as WebSocketHalf

_GENERATION = 1 << 31  # above any stream id: a TLS object that is used again begins a new range
_MAX_IGNORED = 64
_NOT_NEEDED = frozenset({0, 8})  # NO_ERROR, CANCEL


class Half(Body, array_like=True):
    """`told`: of its end, before it has ended."""

    head: bool = False
    ended: bool = False
    told: bool = False


class Stream(Struct, array_like=True, gc=False):
    """`turning`: what it is to speak once it is accepted (CONNECT)."""

    request: Half
    response: Half
    turning: str = ""


class Streams(Struct, gc=False):
    """`begun`: another preface than the first one begins them anew."""

    client: Direction | None
    open: dict[int, Stream] = {}
    ignored: list[int] = []  # reset: what still comes of them is no exchange
    base: int = 0
    begun: bool = False
    highest: int = 0  # number that was seen


def begin_anew(streams: Streams, client: Direction, out: Emission) -> None:
    """After a preface; the first one may come late, after the server's answers."""
    if streams.begun:
        close(streams, out)
        streams.base += _GENERATION
        streams.open, streams.ignored, streams.highest = {}, [], 0
    streams.client, streams.begun = client, True


def side_of(streams: Streams, direction: Direction) -> Side | None:
    if streams.client is None:
        return None
    return "request" if direction == streams.client else "response"


def opened(streams: Streams, number: int, out: Emission) -> Stream | None:
    """One that is open, or begins with this; None for what comes after a reset."""
    stream = streams.open.get(number)
    if stream is None and number not in streams.ignored:
        stream = streams.open[number] = Stream(Half(), Half())
        streams.highest = max(streams.highest, number)
        if len(streams.open) > out.limits.streams:
            del streams.open[next(iter(streams.open))]
            out.count("streams_dropped")
    return stream


def data(
    streams: Streams, direction: Direction, number: int, view: memoryview, out: Emission
) -> None:
    side, stream = side_of(streams, direction), opened(streams, number, out)
    if side is None or stream is None:
        out.count("data_without_exchange")
        return
    half = stream.request if side == "request" else stream.response
    contents.receive(half, streams.base + number, side, view, out)


def end(
    streams: Streams, direction: Direction, number: int, trailers: Headers, out: Emission
) -> None:
    side, stream = side_of(streams, direction), opened(streams, number, out)
    if side is None or stream is None:
        return
    half = stream.request if side == "request" else stream.response
    if half.told:
        contents.close(half, streams.base + number, side, out)
    elif not half.ended:
        contents.end(half, streams.base + number, side, trailers, out)
    half.ended = True
    if stream.request.ended and stream.response.ended:
        del streams.open[number]


def reset(streams: Streams, direction: Direction, number: int, code: int, out: Emission) -> None:
    if number in streams.ignored:
        return
    stream = streams.open.pop(number, None)
    if stream is not None and code in _NOT_NEEDED and _said_goodbye(stream):
        contents.close(stream.request, streams.base + number, "request", out)
        contents.end(stream.response, streams.base + number, "response", (), out)
        _ignore(streams, number, out)
        return
    if stream is not None:
        _close(streams, number, stream, out)
    _ignore(streams, number, out)
    out.emit(
        ResetFrame(
            connection=out.connection, time_ns=out.time_ns, stream=streams.base + number,
            code=code, direction=direction,
        )
    )  # fmt: skip


def _said_goodbye(stream: Stream) -> bool:
    """One close frame of a WebSocket is its end, however the stream then ends (RFC 8441 §5)."""
    contents_of = (stream.request.content, stream.response.content)
    return any(isinstance(half, WebSocketHalf) and half.close_seen for half in contents_of)


def _ignore(streams: Streams, number: int, out: Emission) -> None:
    streams.ignored.append(number)
    del streams.ignored[:-_MAX_IGNORED]
    out.count("streams_reset")


def go_away(streams: Streams, direction: Direction, last: int, code: int, out: Emission) -> None:
    """Streams above `last` that the other side began were refused (RFC 9113 §6.8)."""
    if streams.client is None:
        return
    parity = 1 if direction != streams.client else 0  # clients begin the odd ones
    refused = [number for number in streams.open if number > last and number & 1 == parity]
    for number in refused:
        reset(streams, direction, number, code, out)


def gap(streams: Streams, direction: Direction, number: int, hole: Hole, out: Emission) -> None:
    """A hole within the DATA of a stream."""
    side, stream = side_of(streams, direction), opened(streams, number, out)
    if side is None or stream is None:
        contents.tell(None, direction.name.lower(), hole.offset, hole, out)
        return
    half = stream.request if side == "request" else stream.response
    contents.gap(half, streams.base + number, side, hole, out)


def tear(streams: Streams, direction: Direction, hole: Hole | None, out: Emission) -> None:
    """Nobody knows which streams a hole was of: whatever was under way may miss some of it. One
    whose head comes after the hole misses nothing."""
    if hole is not None:
        contents.tell(None, direction.name.lower(), hole.offset, hole, out)
    side = side_of(streams, direction)
    if side is None:
        return
    for number, stream in streams.open.items():
        half = stream.request if side == "request" else stream.response
        if not half.ended and (half.head or half.size):
            contents.tear(half, streams.base + number, side, hole, out)


def close(streams: Streams, out: Emission) -> None:
    for number, stream in streams.open.items():
        _close(streams, number, stream, out)


def held(streams: Streams) -> Iterator[int]:
    """Of each side that has any: bytes that are neither parsed nor opaque yet."""
    return (contents.held(half) for half in _special(streams))


def weight(streams: Streams) -> Iterator[int]:
    return (contents.weight(half) for half in _special(streams))


def _special(streams: Streams) -> Iterator[Half]:
    for stream in streams.open.values():
        for half in (stream.request, stream.response):
            if half.content is not None:
                yield half


def _close(streams: Streams, number: int, stream: Stream, out: Emission) -> None:
    contents.close(stream.request, streams.base + number, "request", out)
    contents.close(stream.response, streams.base + number, "response", out)
