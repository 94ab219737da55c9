"""Undoes content codings, bounded. Knows gzip, deflate (zlib and raw), br, zstd and their stacks
(RFC 9110 §8.4), not whose body it is.

Input may be cut anywhere: what can be decoded of it is given. Nothing beyond `output` bytes is ever
kept. Whether what was left is a bomb is told by its ratio and by its size: deflate's is promised by
the ratio so far, which it can't change much; that of the others is counted, up to where it is one.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Literal

from msgspec import Struct

_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_DEFLATE_METHOD = 8
_MAX_CODINGS = 4
_STEP = 64 * 1024  # bytes that are decoded at a time where they are only counted
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # behind a byte 0x50 to 0x5f
_ZSTD_WINDOW_LOG = 23  # RFC 9659: 8 MiB at most in HTTP
_IDENTITY = ("identity", "")

Cut = Literal["output", "bomb"]


class Limits(Struct, frozen=True, kw_only=True):
    output: int = 64 * 1024
    bomb_ratio: int = 100
    bomb_bytes: int = 8 * 1024 * 1024


class Inflated(Struct, frozen=True, kw_only=True):
    data: bytes
    cut: Cut | None = None  # why there is less than the input holds

    def __repr__(self) -> str:
        return f"Inflated({len(self.data)} bytes, cut={self.cut})"


class _Broken(Exception):
    """The data breaks its coding."""


def codings(header: str) -> tuple[str, ...]:
    """Those of a Content-Encoding value, in the order in which they were applied."""
    names = (name.strip().lower() for name in header.split(","))
    return tuple(name for name in names if name not in _IDENTITY)


def are_known(applied: tuple[str, ...]) -> bool:
    return 0 < len(applied) <= _MAX_CODINGS and all(name in _DECODERS for name in applied)


def inflate(data: bytes, applied: tuple[str, ...], limits: Limits) -> Inflated | None:
    """None where a coding is unknown or the data breaks it: then the bytes stay as they are."""
    if applied and not are_known(applied):
        return None
    cut: Cut | None = None
    try:
        for name in reversed(applied):
            layer = _DECODERS[name](data, limits)
            data, cut = layer.data, layer.cut or cut
    except _Broken:
        return None
    return Inflated(data=data, cut=cut)


def _gunzip(data: bytes, limits: Limits) -> Inflated:
    """All members (RFC 1952 §2.2). What follows the last and is none is ignored, as gzip does."""
    out = bytearray()
    rest, more = data, False
    while rest and not more and (rest is data or rest.startswith(_GZIP_MAGIC)):
        member = zlib.decompressobj(_GZIP)
        more = _drain(member, rest, out, limits)
        rest = member.unconsumed_tail if more else member.unused_data
    return _inflated(out, more, len(data) - len(rest), len(data), limits)


def _undeflate(data: bytes, limits: Limits) -> Inflated:
    """zlib's format is what the word means; raw deflate is what some servers send."""
    kinds = (zlib.MAX_WBITS, -zlib.MAX_WBITS)
    first, second = kinds if _looks_like_zlib(data) else reversed(kinds)
    try:
        return _undeflate_as(first, data, limits)
    except _Broken:
        return _undeflate_as(second, data, limits)


def _undeflate_as(bits: int, data: bytes, limits: Limits) -> Inflated:
    out = bytearray()
    stream = zlib.decompressobj(bits)
    more = _drain(stream, data, out, limits)
    consumed = len(data) - len(stream.unconsumed_tail)
    return _inflated(out, more, consumed, len(data), limits)


def _looks_like_zlib(data: bytes) -> bool:
    if len(data) < 2:
        return True
    return data[0] & 0x0F == _DEFLATE_METHOD and (data[0] << 8 | data[1]) % 31 == 0


def _drain(stream: zlib._Decompress, data: bytes, out: bytearray, limits: Limits) -> bool:
    """Appends to `out` up to its limit; True where the input holds more."""
    while not stream.eof:
        room = limits.output - len(out)
        # One byte over the limit proves that there is more: the rest could be a checksum only.
        step = _step(stream, data, room + 1)
        if len(step) > room:
            out += step[:room]
            return True
        out += step
        if not step and not stream.unconsumed_tail:
            return False  # the input ends before its stream does: cut, or still under way
        data = stream.unconsumed_tail
    return False


def _step(stream: zlib._Decompress, data: bytes, at_most: int) -> bytes:
    try:
        return stream.decompress(data, at_most)
    except zlib.error:
        raise _Broken from None


def _inflated(out: bytearray, more: bool, consumed: int, size: int, limits: Limits) -> Inflated:
    if not more:
        return Inflated(data=bytes(out))
    ratio = len(out) / max(consumed, 1)
    bomb = ratio > limits.bomb_ratio and ratio * size > limits.bomb_bytes
    return Inflated(data=bytes(out), cut="bomb" if bomb else "output")


def _unbrotli(data: bytes, limits: Limits) -> Inflated:
    return _counted(_brotli_pieces(data), len(data), limits)


def _brotli_pieces(data: bytes) -> Iterator[bytes]:
    import brotli  # type: ignore[import-untyped]  # only where it is used: starts stay quick

    stream = brotli.Decompressor()
    try:
        piece = stream.process(data, output_buffer_limit=_STEP)
        while piece:
            yield piece
            if stream.is_finished():
                return
            piece = stream.process(b"", output_buffer_limit=_STEP)
    except brotli.error:
        raise _Broken from None


def _unzstd(data: bytes, limits: Limits) -> Inflated:
    return _counted(_zstd_pieces(data), len(data), limits)


def _zstd_pieces(data: bytes) -> Iterator[bytes]:
    """All frames (RFC 8878 §3.1); what follows the last and is none is ignored."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    first = True
    while data and (first or _begins_zstd(data)):
        first = False
        frame = zstd.ZstdDecompressor(options=options)
        try:
            yield frame.decompress(data, _STEP)
            while not frame.eof and not frame.needs_input:
                yield frame.decompress(b"", _STEP)
        except zstd.ZstdError:
            raise _Broken from None
        data = frame.unused_data


def _begins_zstd(data: bytes) -> bool:
    return data.startswith(_ZSTD_MAGIC) or (data[1:4] == _ZSTD_SKIPPABLE and data[0] & 0xF0 == 0x50)


def _counted(pieces: Iterator[bytes], size: int, limits: Limits) -> Inflated:
    """Few bytes may stand for any number of them: what is over the limit is counted, not kept."""
    bomb = max(limits.bomb_bytes, limits.bomb_ratio * size)
    out = bytearray()
    total = 0
    for piece in pieces:
        total += len(piece)
        out += piece[: limits.output - len(out)]
        if total > bomb:
            return Inflated(data=bytes(out), cut="bomb")
    return Inflated(data=bytes(out), cut="output" if total > limits.output else None)


_DECODERS: dict[str, Callable[[bytes, Limits], Inflated]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _undeflate,
    "br": _unbrotli,
    "zstd": _unzstd,
}
