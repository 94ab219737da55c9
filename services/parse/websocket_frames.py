"""Frame headers of WebSocket (RFC 6455 §5.2): read, and judged where nothing is known of the bytes.

Knows one header at a time, and what a chain of them proves; knows no messages.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
_FIN, _RSV1, _RSV23, _OPCODE, _MASKED, _LENGTH = 0x80, 0x40, 0x30, 0x0F, 0x80, 0x7F
MAX_CONTROL = 125
_SHORTEST = {2: 126, 8: 1 << 16}  # by bytes of an extended length: the least that needs them


class Header(Struct, frozen=True, array_like=True):
    final: bool
    compressed: bool
    opcode: int
    length: int
    mask: bytes  # empty where the payload is not masked
    size: int  # of the header itself


class Short(Enum):
    MORE = "more"
    BROKEN = "broken"


def read(data: bytes | memoryview, at: int = 0) -> Header | Short:
    """The header at `at`; or that it is not whole, or none."""
    have = len(data) - at
    if have < 2:
        return Short.BROKEN if have and not _first_possible(data[at]) else Short.MORE
    first, second = data[at], data[at + 1]
    length, start = second & _LENGTH, at + 2
    if not _first_possible(first) or (first & _OPCODE >= CLOSE and length > MAX_CONTROL):
        return Short.BROKEN
    extended = {126: 2, 127: 8}.get(length, 0)
    stop = start + extended + (4 if second & _MASKED else 0)
    if stop > len(data):
        return Short.MORE
    if extended:
        length = int.from_bytes(data[start : start + extended])
        if length < _SHORTEST[extended] or length >> 63:
            return Short.BROKEN
    mask = bytes(data[start + extended : stop])
    return Header(bool(first & _FIN), bool(first & _RSV1), first & _OPCODE, length, mask, stop - at)


def _first_possible(first: int) -> bool:
    opcode = first & _OPCODE
    if opcode not in _OPCODES or first & _RSV23:
        return False
    if opcode >= CLOSE:  # §5.5: in one frame; permessage-deflate leaves them alone
        return first & (_FIN | _RSV1) == _FIN
    return not (opcode == CONTINUATION and first & _RSV1)  # RFC 7692 §6.1


def chain(data: bytes | memoryview) -> tuple[int, bool] | None:
    """(frames, masked) where `data` is whole frames and nothing else; all or none are masked."""
    position, count, masked = 0, 0, False
    while position < len(data):
        header = read(data, position)
        if isinstance(header, Short) or (count and bool(header.mask) != masked):
            return None
        masked = bool(header.mask)
        position += header.size + header.length
        count += 1
    return (count, masked) if count and position == len(data) else None


def unmask(data: bytes | memoryview, mask: bytes, position: int) -> bytes:
    """Of payload bytes from `position` on (§5.3)."""
    if not mask:
        return bytes(data)
    size = len(data)
    turned = (mask * 2)[position % 4 : position % 4 + 4]
    key = int.from_bytes((turned * (size // 4 + 1))[:size])
    return (int.from_bytes(data) ^ key).to_bytes(size)
