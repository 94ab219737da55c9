"""Messages of one direction of a WebSocket: put together from payloads, inflated, told.

Knows what a message is made of and what is kept of it; knows no frame headers. The context of
permessage-deflate (RFC 7692) is followed whether or not it was agreed to: a message that begins
anew refers to nothing before it. Where it is not known, only what refers to it is not shown.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from services.messages import Direction, Role, Side, WebSocketFrame, WebSocketType
from services.parse import deflate
from services.parse.deflate import BombError, BrokenError, Inflater
from services.parse.emission import Emission, Fault
from services.parse.websocket_frames import Header

_FIXED = 64
Cut = Literal["cap", "gap", "bomb", "context", "close"]


class Message(Struct):
    """`cut`: why its rest is not kept; of one that is whole, nothing but the cap."""

    kind: WebSocketType
    started_ns: int
    compressed: bool
    size: int = 0
    data: bytes = b""
    cut: Cut | None = None

    def __repr__(self) -> str:
        return f"Message({self.kind}, {self.size})"


class Half(Struct, tag="websocket"):
    """One direction. `header` is an unfinished one, `position` how far the frame's payload is read,
    `offset` counts all bytes since the WebSocket began. `lost`: until records prove frames."""

    direction: Direction
    sender: Role
    stream: int
    header: bytes = b""
    started_ns: int = 0
    frame: Header | None = None
    position: int = 0
    message: Message | None = None
    control: Message | None = None
    inflater: Inflater | None = None
    offset: int = 0
    lost: bool = False
    held: list[tuple[int, bytes]] = []  # with their times: records that may prove frames
    close_seen: bool = False

    def side(self) -> Side:
        return "request" if self.sender == "client" else "response"


def add(half: Half, message: Message, payload: bytes | memoryview, out: Emission) -> None:
    """Unmasked bytes of a frame; `len(payload)` is what passed, whatever is kept."""
    if message.compressed:
        _inflate(half, message, bytes(payload), out)
        return
    message.size += len(payload)
    room = out.limits.body - len(message.data)
    if message.cut is None and room > 0:
        message.data += payload[:room]


def wants(message: Message, out: Emission) -> bool:
    """Whether payload need be unmasked for it."""
    if message.compressed:
        return message.cut is None
    return message.cut is None and len(message.data) < out.limits.body


def complete(half: Half, message: Message, out: Emission) -> None:
    size: int | None = message.size
    if message.compressed and message.cut is None and half.inflater is not None:
        try:
            size, message.data = deflate.finish(half.inflater, _limits(out))
        except (BrokenError, BombError) as error:
            _give_up(half, message, error, out)
    if message.cut is not None and message.compressed:
        size = None
    _tell(half, message, size, out)


def complete_torn(half: Half, message: Message, out: Emission) -> None:
    """How much of it there was nobody knows."""
    _tell(half, message, None, out)


def tear(half: Half, message: Message, cut: Cut, out: Emission) -> None:
    """What follows of it is missing, or won't come."""
    if message.cut is not None:
        return
    message.cut = cut
    if message.compressed and half.inflater is not None:
        message.data = deflate.cut(half.inflater, _limits(out))
        half.inflater = None


def _inflate(half: Half, message: Message, payload: bytes, out: Emission) -> None:
    if message.cut is not None:
        return
    if half.inflater is None:
        half.inflater = Inflater()
    try:
        deflate.feed(half.inflater, payload, _limits(out))
    except (BrokenError, BombError) as error:
        _give_up(half, message, error, out)


def _give_up(half: Half, message: Message, error: Exception, out: Emission) -> None:
    """Compressed bytes are shown to nobody: what is in them can't be redacted."""
    message.cut = "bomb" if isinstance(error, BombError) else "context"
    message.data = b""
    half.inflater = None
    out.count(f"websocket_messages_{message.cut}")


def _limits(out: Emission) -> deflate.Limits:
    return deflate.Limits(out.limits.body, out.limits.inflated)


def _tell(half: Half, message: Message, size: int | None, out: Emission) -> None:
    code, data, cut = None, message.data, message.cut
    if message.kind == "close":
        half.close_seen = True
        if len(data) >= 2:
            code, data = int.from_bytes(data[:2]), data[2:]
            size = None if size is None else size - 2
    if cut is None and size is not None and size > len(data):
        cut = "cap"
    out.emit(
        WebSocketFrame(
            connection=out.connection, time_ns=message.started_ns, stream=half.stream,
            sender=half.sender, kind=message.kind, size=size, data=data,
            compressed=message.compressed, truncated_by=cut, close_code=code,
        ),
        len(data) + _FIXED,
    )  # fmt: skip


def malformed(half: Half, reason: str, size: int, out: Emission) -> None:
    out.malformed(half.direction, Fault("websocket", reason, size, half.stream))
