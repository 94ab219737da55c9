"""Inflates the messages of permessage-deflate (RFC 7692), restartable anywhere, in bounded memory.

State is plain data: the last 32 KiB that came out, and what went in since the last border of a
block. zlib can begin again at such a border, given that window and the bits that were left of the
last byte. Knows neither WebSocket nor connections.
"""

from __future__ import annotations

import zlib

from msgspec import Struct

from services.parse import zstream

_WINDOW = 32 * 1024
_TAIL = b"\x00\x00\xff\xff"  # RFC 7692 §7.2.2: taken off by the sender
_STEP = 32 * 1024  # of input, at which a long message is tried: the same however it is cut
_MAX_BLOCK = 256 * 1024  # of input without a border


class Limits(Struct, frozen=True):
    kept: int
    output: int


class Inflater(Struct):
    """Of one direction. `window` is what messages may refer to; a reference to what is older than
    the first byte seen is an error, never a guess. `bits` are `value`'s, left of the last byte."""

    window: bytes = b""
    bits: int = 0
    value: int = 0
    pending: bytes = b""
    size: int = 0  # of the message so far, inflated
    kept: bytes = b""

    def __repr__(self) -> str:
        return f"Inflater({self.size} bytes)"


class BrokenError(Exception):
    """The message refers to what is not known, or is no deflate data."""


class BombError(Exception):
    """More would come out than may be."""


def feed(inflater: Inflater, data: bytes, limits: Limits) -> None:
    """A part of a message. Raises BrokenError, BombError; the inflater is to be forgotten then."""
    position = 0
    while position < len(data):
        room = _STEP - len(inflater.pending) % _STEP
        inflater.pending += data[position : position + room]
        position += room
        if len(inflater.pending) % _STEP == 0:
            _advance(inflater, limits, final=False)
            if len(inflater.pending) > _MAX_BLOCK:
                raise BrokenError


def finish(inflater: Inflater, limits: Limits) -> tuple[int, bytes]:
    """The message's size and its kept prefix. Raises as above."""
    if inflater.size or inflater.bits:
        _advance(inflater, limits, final=True)
    else:
        _whole(inflater, limits)
    found = inflater.size, inflater.kept
    inflater.size, inflater.kept, inflater.pending = 0, b"", b""
    return found


def cut(inflater: Inflater, limits: Limits) -> bytes:
    """The prefix of a message whose rest is missing, as far as it is certain."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS, inflater.window) if not inflater.bits else None
    if stream is None:
        return inflater.kept
    try:
        more = stream.decompress(inflater.pending, max(limits.kept - len(inflater.kept), 1))
    except zlib.error:
        return inflater.kept
    return (inflater.kept + more)[: limits.kept]


def _whole(inflater: Inflater, limits: Limits) -> None:
    """The common case: a message of which all is there."""
    rest, out = inflater.pending + _TAIL, b""
    try:
        while rest:
            window = (inflater.window + out)[-_WINDOW:]
            stream = zlib.decompressobj(-zlib.MAX_WBITS, window)
            out += stream.decompress(rest, limits.output + 1 - len(out))
            if len(out) > limits.output or stream.unconsumed_tail:
                raise BombError
            rest = stream.unused_data  # §7.2.3.4: a final block, then another beginning
    except zlib.error:
        raise BrokenError from None
    inflater.window = (inflater.window + out)[-_WINDOW:]
    inflater.size, inflater.kept = len(out), out[: limits.kept]


def _advance(inflater: Inflater, limits: Limits, *, final: bool) -> None:
    """Up to the last border within what is pending, or to the end of the message."""
    rest = inflater.pending + _TAIL if final else inflater.pending
    while True:
        resumed = zstream.Resumed(inflater.window, inflater.bits, inflater.value)
        try:
            reached = zstream.inflate(resumed, rest, limits.output - inflater.size, limits.kept)
        except zstream.BrokenError:
            raise BrokenError from None
        if reached.too_much:
            raise BombError
        inflater.size += reached.size
        inflater.kept = (inflater.kept + reached.kept)[: limits.kept]
        inflater.window, inflater.bits, inflater.value = reached.window, reached.bits, reached.value
        rest = rest[reached.consumed :]
        if not (reached.ended and rest):
            break
    if final and rest:
        raise BrokenError
    inflater.pending = b"" if final else rest
    if final:
        inflater.bits = inflater.value = 0
