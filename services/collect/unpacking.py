"""Undoes the content coding of a body that comes in parts; state is plain data, of bounded size.

gzip and deflate go on from the last flush: what was written so far ends there with a whole byte, so
32 KiB of output and what came since are all that the rest refers to. Whoever streams flushes, or
its reader would wait too. Other codings and stacks are undone from their beginning each time.
What has no such point within `coded` bytes can't be followed any further, and says so.
"""

from __future__ import annotations

import zlib
from typing import Literal, NamedTuple

from msgspec import Struct

from services import inflate

Lost = Literal["cap", "gap", "bomb", "coding"]

_WINDOW = 32 * 1024
_FLUSHED = b"\x00\x00\xff\xff"  # the end of an empty stored block (RFC 1951 §3.2.4)
_FINAL = b"\x01\x00\x00\xff\xff"
_GZIP_MAGIC = b"\x1f\x8b"
_FLAG_CRC, _FLAG_EXTRA, _FLAG_NAME, _FLAG_COMMENT = 2, 4, 8, 16
_TRAILERS = {"gzip": 8, "x-gzip": 8, "deflate": 4}


class Limits(Struct, frozen=True, kw_only=True):
    coded: int = 256 * 1024  # input that is kept, since where it can be gone on from
    output: int = 8 * 1024 * 1024  # of one part


class Unpacking(Struct):
    """`given` bytes of what `coded` stands for were given out before. `within`: it begins at the
    border of a deflate block, with `window` before it. Once `lost` nothing comes any more."""

    applied: tuple[str, ...]
    coded: bytes = b""
    given: int = 0
    within: bool = False
    headless: bool = False  # raw deflate, which some servers send
    window: bytes = b""
    begun: bool = False  # something has come out
    lost: Lost | None = None

    def __repr__(self) -> str:
        return f"Unpacking({self.applied}, {len(self.coded)} bytes, lost={self.lost})"


class Unpacked(NamedTuple):
    """`raw`: it is not coded so at all, and `data` is what was sent."""

    data: bytes
    raw: bool = False


class _Broken(Exception):
    """The data breaks its coding."""


def unpack(state: Unpacking, data: bytes, limits: Limits) -> Unpacked:
    """What this adds to what was given before."""
    if state.lost is not None:
        return Unpacked(b"")
    state.coded += data
    try:
        restartable = len(state.applied) == 1 and state.applied[0] in _TRAILERS
        out = _go_on(state, limits) if restartable else _from_the_beginning(state, limits)
    except _Broken:
        if not state.begun:
            return Unpacked(state.coded, raw=True)
        lose(state, "coding")
        return Unpacked(b"")
    state.begun = state.begun or bool(out)
    if state.lost is None and len(state.coded) > limits.coded:
        lose(state, "cap")
    return Unpacked(out)


def lose(state: Unpacking, why: Lost) -> None:
    state.lost, state.coded, state.window = why, b"", b""


def _from_the_beginning(state: Unpacking, limits: Limits) -> bytes:
    most = inflate.Limits(output=limits.output, bomb_bytes=limits.output)
    found = inflate.inflate(state.coded, state.applied, most)
    if found is None:
        raise _Broken
    fresh = found.data[state.given :]
    state.given = len(found.data)
    if found.cut is not None:
        lose(state, "bomb")
    return fresh


def _go_on(state: Unpacking, limits: Limits) -> bytes:
    """One stream after another (RFC 1952 §2.2), each from its header or from the last flush."""
    out = bytearray()
    while state.coded and (state.within or _enter(state)):
        fresh, rest = _follow(state, limits.output - len(out))
        out += fresh
        if rest is None or not _leave(state, rest):
            break
    return bytes(out)


def _enter(state: Unpacking) -> bool:
    """Past the header; False where more of it is to come. What is no gzip behind one is ignored."""
    if state.applied[0] == "deflate":
        if len(state.coded) < 2:
            return False
        state.headless = not _is_zlib(state.coded)
        header: int | None = 0 if state.headless else 2
    elif state.begun and not _GZIP_MAGIC.startswith(state.coded[:2]):
        state.coded = b""
        return False
    else:
        header = _gzip_header(state.coded)
    if header is None:
        return False
    state.coded = state.coded[header:]
    state.within, state.given, state.window = True, 0, b""
    return True


def _is_zlib(data: bytes) -> bool:
    return data[0] & 0x0F == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0


def _gzip_header(data: bytes) -> int | None:
    """How long it is (RFC 1952 §2.3); None where it isn't whole."""
    if not _GZIP_MAGIC.startswith(data[:2]) or data[2:3] not in (b"", b"\x08"):
        raise _Broken
    if len(data) < 10:
        return None
    flags, position = data[3], 10
    if flags & _FLAG_EXTRA:
        position += 2 + int.from_bytes(data[10:12], "little")
    for flag in (_FLAG_NAME, _FLAG_COMMENT):
        if flags & flag:
            position = data.find(b"\0", position) + 1 or len(data) + 1
    position += 2 if flags & _FLAG_CRC else 0
    return position if position <= len(data) else None


def _follow(state: Unpacking, room: int) -> tuple[bytes, bytes | None]:
    """What is new, and what follows the stream if it ends; moves the state to the last flush."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS, state.window)
    cut = state.coded.rfind(_FLUSHED) + len(_FLUSHED)
    coded, rest = (state.coded[:cut], state.coded[cut:]) if cut >= len(_FLUSHED) else (b"", b"")
    most = state.given + room
    before = _step(stream, coded, most + 1)
    at_border = bool(coded) and not stream.eof and len(before) <= most and _is_at_border(stream)
    if stream.eof:
        rest = stream.unused_data + rest
        after = b""
    else:
        rest = rest if coded else state.coded
        after = _step(stream, rest, most + 1 - len(before)) if len(before) <= most else b""
        rest = stream.unused_data
    fresh = (before + after)[state.given :]
    if len(fresh) > room:
        lose(state, "bomb")
        return fresh[:room], None
    state.given = len(before) + len(after)
    if at_border:
        state.window = (state.window + before)[-_WINDOW:]
        state.coded, state.given = state.coded[cut:], len(after)
    return fresh, rest if stream.eof else None


def _is_at_border(stream: zlib._Decompress) -> bool:
    """Whether a block could begin here: one that is final and empty then ends the stream."""
    probe = stream.copy()
    try:
        return not probe.decompress(_FINAL) and probe.eof and not probe.unused_data
    except zlib.error:
        return False


def _step(stream: zlib._Decompress, data: bytes, at_most: int) -> bytes:
    if not data:
        return b""
    try:
        return stream.decompress(data, at_most)
    except zlib.error:
        raise _Broken from None


def _leave(state: Unpacking, rest: bytes) -> bool:
    """Past the trailer; False where more of it is to come."""
    trailer = 0 if state.headless else _TRAILERS[state.applied[0]]
    if len(rest) < trailer:
        return False
    state.coded = rest[trailer:]
    state.within, state.given, state.window = False, 0, b""
    return True
