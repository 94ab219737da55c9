"""gRPC's messages in one side's content: a prefix of five bytes each, joined over whatever carried.

Knows gRPC-Web as well: its trailers, a message with a flag of their own, and its text mode, base64
in pieces. Leaves compressed messages as they are: each is by itself, so that collect can undo it
as it does with bodies, and its limits for that are in one place. State is plain data.
"""

from __future__ import annotations

import binascii
from typing import Literal

from msgspec import Struct

from services.messages import GrpcFrame, Headers, Side
from services.parse import fields
from services.parse.emission import Emission

_PREFIX = 5
_COMPRESSED, _TRAILERS = 0x01, 0x80
_FIXED = 64
Kind = Literal["grpc", "grpc-web", "grpc-web-text"]


class Grpc(Struct, tag="grpc"):
    """`prefix` is an unfinished one, `flags` and `remaining` are the message's in hand. `broken`:
    where the next message begins is not known."""

    kind: Kind
    encoding: str | None
    prefix: bytes = b""
    flags: int | None = None
    remaining: int = 0
    size: int = 0
    data: bytes = b""
    index: int = 0
    started_ns: int = 0
    torn: bool = False
    broken: bool = False
    quartet: bytes = b""  # base64 that is not decoded yet
    trailers: bytes = b""

    def __repr__(self) -> str:
        return f"Grpc({self.kind}, {self.index} messages)"


class Where(Struct, frozen=True):
    stream: int
    side: Side


def kind_of(media_type: str) -> Kind | None:
    """Of a Content-Type: application/grpc, with or without +proto and the like."""
    name = media_type.partition(";")[0].strip().lower().partition("+")[0]
    match name:
        case "application/grpc":
            return "grpc"
        case "application/grpc-web":
            return "grpc-web"
        case "application/grpc-web-text":
            return "grpc-web-text"
    return None


def receive(grpc: Grpc, where: Where, data: memoryview, out: Emission) -> None:
    if grpc.broken:
        return
    if grpc.kind == "grpc-web-text":
        plain = _plain(grpc, bytes(data), out)
        data = memoryview(plain)
    position, size = 0, len(data)
    while position < size and not grpc.broken:
        if grpc.flags is None:
            position = _read_prefix(grpc, where, data, position, out)
        else:
            position = _read_message(grpc, where, data, position, out)


def gap(grpc: Grpc, where: Where, size: int, out: Emission) -> None:
    """A hole within a message whose length is known is only a hole in that message."""
    if grpc.broken:
        return
    if grpc.flags is None or size > grpc.remaining or grpc.kind == "grpc-web-text":
        lose(grpc, where, out)
        return
    grpc.torn = True
    grpc.remaining -= size
    if not grpc.remaining:
        _finish(grpc, where, out)


def lose(grpc: Grpc, where: Where, out: Emission) -> None:
    if grpc.flags is not None:
        grpc.torn = True
        _tell(grpc, where, "gap", out)
    grpc.flags, grpc.prefix, grpc.quartet, grpc.broken = None, b"", b"", True
    out.count("grpc_sides_broken")


def close(grpc: Grpc, where: Where, out: Emission) -> None:
    if grpc.flags is not None:
        _tell(grpc, where, "close", out)
        grpc.flags = None


def end(grpc: Grpc, where: Where, out: Emission) -> Headers:
    """The trailers of gRPC-Web."""
    close(grpc, where, out)
    found = fields.fields(grpc.trailers)
    return found.headers if found else ()


def _plain(grpc: Grpc, data: bytes, out: Emission) -> bytes:
    """Whole quartets; each piece that was encoded by itself may end with padding."""
    coded = grpc.quartet + data
    stop = len(coded) - len(coded) % 4
    grpc.quartet = coded[stop:]
    try:
        return b"".join(
            binascii.a2b_base64(piece, strict_mode=True) for piece in _pieces(coded[:stop])
        )
    except binascii.Error:
        grpc.broken = True
        out.count("grpc_malformed")
        return b""


def _pieces(coded: bytes) -> list[bytes]:
    if b"=" not in coded:
        return [coded] if coded else []
    found, begin = [], 0
    for stop in range(4, len(coded) + 4, 4):
        if coded[stop - 1 : stop] == b"=" or stop >= len(coded):
            found.append(coded[begin:stop])
            begin = stop
    return found


def _read_prefix(grpc: Grpc, where: Where, data: memoryview, position: int, out: Emission) -> int:
    before = len(grpc.prefix)
    if not before:
        grpc.started_ns = out.time_ns
    prefix = grpc.prefix + data[position : position + _PREFIX - before]
    stop = position + len(prefix) - before
    if len(prefix) < _PREFIX:
        grpc.prefix = prefix
        return stop
    flags, allowed = prefix[0], _COMPRESSED | (_TRAILERS if grpc.kind != "grpc" else 0)
    if flags & ~allowed:
        grpc.broken = True
        out.count("grpc_malformed")
        return len(data)
    grpc.prefix, grpc.flags, grpc.remaining = b"", flags, int.from_bytes(prefix[1:])
    grpc.size, grpc.data, grpc.torn = grpc.remaining, b"", False
    if not grpc.remaining:
        _finish(grpc, where, out)
    return stop


def _read_message(grpc: Grpc, where: Where, data: memoryview, position: int, out: Emission) -> int:
    stop = min(position + grpc.remaining, len(data))
    room = out.limits.body - len(grpc.data)
    if room > 0 and not grpc.torn:
        grpc.data += data[position : min(stop, position + room)]
    grpc.remaining -= stop - position
    if not grpc.remaining:
        _finish(grpc, where, out)
    return stop


def _finish(grpc: Grpc, where: Where, out: Emission) -> None:
    if grpc.flags is not None and grpc.flags & _TRAILERS:
        if not grpc.torn and len(grpc.data) == grpc.size and not grpc.flags & _COMPRESSED:
            grpc.trailers = grpc.data
    else:
        cut: Literal["gap", "cap"] | None = "gap" if grpc.torn else None
        _tell(grpc, where, cut or ("cap" if grpc.size > len(grpc.data) else None), out)
    grpc.flags, grpc.data = None, b""


def _tell(
    grpc: Grpc, where: Where, cut: Literal["cap", "gap", "close"] | None, out: Emission
) -> None:
    assert grpc.flags is not None
    out.emit(
        GrpcFrame(
            connection=out.connection, time_ns=grpc.started_ns, stream=where.stream,
            side=where.side, index=grpc.index, size=grpc.size, data=grpc.data,
            encoding=(grpc.encoding or "unknown") if grpc.flags & _COMPRESSED else None,
            truncated_by=cut,
        ),
        len(grpc.data) + _FIXED,
    )  # fmt: skip
    grpc.index += 1
    grpc.data = b""
