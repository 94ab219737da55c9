"""Messages of WebSocket and gRPC as their senders would put them on the wire."""

from __future__ import annotations

import zlib

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x01\x7f\x80\xfe"


def websocket(opcode: int, payload: bytes, *, mask: bytes = b"", fin: bool = True,
              rsv1: bool = False) -> bytes:  # fmt: skip
    """A frame (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        length, extended = size, b""
    elif size < 1 << 16:
        length, extended = 126, size.to_bytes(2)
    else:
        length, extended = 127, size.to_bytes(8)
    if mask:
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    first = (0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode
    return bytes((first, (0x80 if mask else 0) | length)) + extended + mask + payload


class Deflater:
    """One direction of permessage-deflate (RFC 7692)."""

    def __init__(self, *, takeover: bool = True, bits: int = 15, level: int = 6) -> None:
        self._arguments = (level, zlib.DEFLATED, -bits)
        self._takeover = takeover
        self._stream = zlib.compressobj(*self._arguments)

    def message(self, data: bytes) -> bytes:
        if not self._takeover:
            self._stream = zlib.compressobj(*self._arguments)
        coded = self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        assert coded.endswith(b"\0\0\xff\xff")
        return coded[:-4]


def grpc(payload: bytes, flags: int = 0) -> bytes:
    return bytes((flags,)) + len(payload).to_bytes(4) + payload
