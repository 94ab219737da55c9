"""One direction of a WebSocket (RFC 6455): its frames, and what a loss leaves of them.

Knows neither HTTP nor the other direction. What breaks the protocol is told, and the rest opaque
until records begin with what are frames beyond doubt; so it is after a loss. State is plain data.
"""

from __future__ import annotations

from services.messages import Direction, GapFrame, Role, WebSocketType
from services.parse import websocket_frames as frames
from services.parse import websocket_messages as messages
from services.parse.emission import Emission
from services.parse.reassembly import Hole
from services.parse.websocket_frames import Header, Short
from services.parse.websocket_messages import Half, Message

__all__ = ["Half", "begin", "close", "gap", "held", "lose", "receive", "weight"]

_PROOF = 2  # frames that end where records do: of random bytes some in ten millions are
_KINDS: dict[int, WebSocketType] = {
    frames.TEXT: "text", frames.BINARY: "binary",
    frames.CLOSE: "close", frames.PING: "ping", frames.PONG: "pong",
}  # fmt: skip


def begin(direction: Direction, sender: Role, stream: int) -> Half:
    return Half(direction=direction, sender=sender, stream=stream)


def receive(half: Half, data: memoryview, out: Emission) -> None:
    half.offset += len(data)
    if half.lost:
        _prove(half, data, out)
    else:
        _read(half, data, out)


def gap(half: Half, hole: Hole, out: Emission) -> None:
    """A hole within a frame's payload is only a hole in a message."""
    size = hole.size()
    for offset, reason, part in hole.parts(half.offset):
        out.emit(
            GapFrame(
                connection=out.connection, time_ns=out.time_ns, stream=half.stream,
                part=f"{half.side()}.body", offset=offset, bytes=part, reason=reason,
            )
        )  # fmt: skip
    half.offset += size
    if half.frame is None or size > half.frame.length - half.position:
        lose(half, out)
        return
    message = half.control or half.message
    if message is not None:
        messages.tear(half, message, "gap", out)
        message.size += size
    half.position += size
    _finish_frame(half, half.frame, out)


def lose(half: Half, out: Emission) -> None:
    """Where the next frame begins is unknown."""
    _drop(half, "gap", out)
    half.lost = True


def close(half: Half, out: Emission) -> None:
    _drop(half, "close", out)


def held(half: Half) -> int:
    return len(half.header) + sum(len(data) for _, data in half.held)


def weight(half: Half) -> int:
    """What its state takes, about."""
    inflater, message = half.inflater, half.message
    return (
        held(half)
        + (len(message.data) if message else 0)
        + (len(inflater.window) + len(inflater.pending) + len(inflater.kept) if inflater else 0)
    )


def _drop(half: Half, why: messages.Cut, out: Emission) -> None:
    """What is in hand is told as far as it goes."""
    out.skip(half.direction, "websocket", held(half))
    half.header, half.held = b"", []
    for message in (half.message, half.control):
        if message is not None:
            messages.tear(half, message, why, out)
            message.cut = message.cut or why
            messages.complete_torn(half, message, out)
    half.message = half.control = half.frame = half.inflater = None


# --- frames ---------------------------------------------------------------------------------------


def _read(half: Half, data: memoryview, out: Emission) -> None:
    position, size = 0, len(data)
    while position < size:
        if half.frame is None:
            position = _header(half, data, position, out)
        else:
            position = _payload(half, half.frame, data, position, out)


def _header(half: Half, data: memoryview, position: int, out: Emission) -> int:
    before = len(half.header)
    if not before:
        half.started_ns = out.time_ns
    block = half.header + data[position : position + 14 - before]
    header = frames.read(block)
    if header is Short.MORE:
        half.header = block
        return position + len(block) - before
    half.header = b""
    wrong = "no frame header" if isinstance(header, Short) else _wrong(half, header)
    if wrong or isinstance(header, Short):
        messages.malformed(half, wrong, before + len(data) - position, out)
        lose(half, out)
        return len(data)
    out.parsed += header.size
    half.frame, half.position = header, 0
    _begin(half, header, out)
    _finish_frame(half, header, out)
    return position + header.size - before


def _wrong(half: Half, header: Header) -> str:
    if half.close_seen:
        return "frame after close"
    if bool(header.mask) != (half.sender == "client"):
        return "masked server frame" if header.mask else "unmasked client frame"
    if half.message is not None and header.opcode in (frames.TEXT, frames.BINARY):
        return "message within a message"
    return ""


def _begin(half: Half, header: Header, out: Emission) -> None:
    kind = _KINDS.get(header.opcode)
    if kind is None:
        if half.message is None:  # its beginning was before our time, or is lost
            out.count("websocket_fragments_without_beginning")
        return
    message = Message(kind, half.started_ns, header.compressed)
    if header.opcode >= frames.CLOSE:
        half.control = message
    else:
        half.message = message


def _payload(half: Half, frame: Header, data: memoryview, position: int, out: Emission) -> int:
    end = min(position + frame.length - half.position, len(data))
    message = half.control or half.message
    if message is not None:
        if messages.wants(message, out):
            plain = frames.unmask(data[position:end], frame.mask, half.position)
            messages.add(half, message, plain, out)
        else:
            message.size += end - position
    out.parsed += end - position
    half.position += end - position
    _finish_frame(half, frame, out)
    return end


def _finish_frame(half: Half, frame: Header, out: Emission) -> None:
    if half.position < frame.length:
        return
    half.frame = None
    if half.control is not None:
        messages.complete(half, half.control, out)
        half.control = None
    elif half.message is not None and frame.final:
        messages.complete(half, half.message, out)
        half.message = None


# --- loss -----------------------------------------------------------------------------------------


def _prove(half: Half, data: memoryview, out: Emission) -> None:
    """Whole frames where records begin and end; a single one is believed with the next record."""
    held = [*half.held, (out.time_ns, bytes(data))]
    found = _chain(half, held)
    if not found and half.held:
        out.skip(half.direction, "websocket", sum(len(piece) for _, piece in half.held))
        held = held[-1:]
        found = _chain(half, held)
    if found >= _PROOF:
        half.lost, half.held = False, []
        out.count("resynchronised")
        now = out.time_ns
        for out.time_ns, piece in held:
            _read(half, memoryview(piece), out)
        out.time_ns = now
    elif found:
        half.held = held
    else:
        half.held = []
        out.skip(half.direction, "websocket", len(data))


def _chain(half: Half, held: list[tuple[int, bytes]]) -> int:
    """How many whole frames they are, or 0."""
    found = frames.chain(b"".join(piece for _, piece in held))
    return found[0] if found and found[1] == (half.sender == "client") else 0
