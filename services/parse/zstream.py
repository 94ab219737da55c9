"""zlib's inflate from the border of a block on, which Python's own zlib module doesn't offer.

A border is where zlib can begin again, from plain data: the window and up to seven bits (zran.c in
zlib's examples). Knows zlib's C interface; knows no messages.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import NamedTuple

_Z_BLOCK, _Z_OK, _Z_STREAM_END, _Z_BUF_ERROR = 5, 0, 1, -5
_RAW = -15
_WINDOW = 32 * 1024
_OUT = 64 * 1024
_AT_BORDER, _LAST_BLOCK, _BITS = 128, 64, 7


class BrokenError(Exception):
    """The input is no deflate data, or zlib is not to be had."""


class Resumed(NamedTuple):
    window: bytes
    bits: int
    value: int


class Reached(NamedTuple):
    """Where the last border was: `consumed` bytes of input, all but `bits` bits of them; `size`
    bytes came out up to there. `ended`: the border is a stream's end."""

    consumed: int
    bits: int
    value: int
    size: int
    kept: bytes
    window: bytes
    ended: bool
    too_much: bool


class _Stream(ctypes.Structure):
    _fields_ = (
        ("next_in", ctypes.c_void_p), ("avail_in", ctypes.c_uint), ("total_in", ctypes.c_ulong),
        ("next_out", ctypes.c_void_p), ("avail_out", ctypes.c_uint), ("total_out", ctypes.c_ulong),
        ("msg", ctypes.c_char_p), ("state", ctypes.c_void_p), ("zalloc", ctypes.c_void_p),
        ("zfree", ctypes.c_void_p), ("opaque", ctypes.c_void_p), ("data_type", ctypes.c_int),
        ("adler", ctypes.c_ulong), ("reserved", ctypes.c_ulong),
    )  # fmt: skip


@cache
def _library() -> ctypes.CDLL:
    try:
        found = ctypes.CDLL("libz.so.1")
    except OSError:
        raise BrokenError from None
    found.zlibVersion.restype = ctypes.c_char_p
    return found


def inflate(resumed: Resumed, data: bytes, at_most: int, keep: int) -> Reached:
    """As far as the last border in `data`. Raises BrokenError."""
    library, stream = _library(), _Stream()
    version = library.zlibVersion()
    if library.inflateInit2_(ctypes.byref(stream), _RAW, version, ctypes.sizeof(_Stream)) != _Z_OK:
        raise BrokenError
    try:
        return _run(library, stream, resumed, data, at_most, keep)
    finally:
        library.inflateEnd(ctypes.byref(stream))


def _run(
    library: ctypes.CDLL, stream: _Stream, resumed: Resumed, data: bytes, at_most: int, keep: int
) -> Reached:
    reference = ctypes.byref(stream)
    if resumed.bits:
        library.inflatePrime(reference, resumed.bits, resumed.value)
    if resumed.window:
        library.inflateSetDictionary(reference, resumed.window, len(resumed.window))
    source, target = ctypes.create_string_buffer(data, len(data)), ctypes.create_string_buffer(_OUT)
    stream.next_in, stream.avail_in = ctypes.addressof(source), len(data)
    reached = Reached(0, resumed.bits, resumed.value, 0, b"", resumed.window, False, False)
    size, kept = 0, bytearray()
    while True:
        stream.next_out, stream.avail_out = ctypes.addressof(target), _OUT
        result = library.inflate(reference, _Z_BLOCK)
        if result not in (_Z_OK, _Z_STREAM_END, _Z_BUF_ERROR):
            raise BrokenError
        produced = _OUT - stream.avail_out
        size += produced
        if len(kept) < keep and produced:
            kept += ctypes.string_at(target, min(produced, keep - len(kept)))
        if size > at_most:
            return reached._replace(too_much=True)
        ended = result == _Z_STREAM_END
        if ended or stream.data_type & (_AT_BORDER | _LAST_BLOCK) == _AT_BORDER:
            reached = _border(library, stream, data, size, bytes(kept), ended=ended)
        if ended or (not stream.avail_in and stream.avail_out) or result == _Z_BUF_ERROR:
            return reached


def _border(
    library: ctypes.CDLL, stream: _Stream, data: bytes, size: int, kept: bytes, *, ended: bool
) -> Reached:
    consumed = len(data) - stream.avail_in
    bits = 0 if ended else stream.data_type & _BITS
    value = data[consumed - 1] >> (8 - bits) if bits and consumed else 0
    window, length = ctypes.create_string_buffer(_WINDOW), ctypes.c_uint(0)
    library.inflateGetDictionary(ctypes.byref(stream), window, ctypes.byref(length))
    return Reached(consumed, bits, value, size, kept, window.raw[: length.value], ended, False)
