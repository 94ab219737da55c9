"""What is shown of messages within an exchange: gRPC's and WebSocket's, decoded and redacted.

Knows what a call is by its path, headers and trailers, and how a message is shown; not how messages
are found in bytes, nor when they come out.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Literal
from urllib.parse import unquote

from services import inflate
from services.collect import redaction, redaction_bodies
from services.collect.redaction import Found
from services.collect.state import Exchange
from services.collect.timestamps import rfc3339
from services.messages import Grpc, GrpcFrame, Headers, Message, WebSocket, WebSocketFrame

_JSON = "application/json"
_GRPC = "application/grpc"
_NO_TIME = ""
_MAX_MESSAGE = 4096  # characters of grpc-message

Cut = Literal["cap", "gap", "bomb", "context", "close"]


def is_grpc(exchange: Exchange) -> bool:
    """gRPC and gRPC-Web, whose requests are all POST."""
    if exchange.messages:
        return type(exchange.messages[0]) is GrpcFrame
    request = exchange.request
    if request is not None:
        return request.method == "POST" and _is_grpc(request.headers)
    return exchange.response is not None and _is_grpc(exchange.response.headers)


def _is_grpc(headers: Headers) -> bool:
    for name, value in headers:
        if name == "content-type" or (name is not None and name.lower() == "content-type"):
            return value is not None and value[: len(_GRPC)].lower() == _GRPC
    return False


def grpc(exchange: Exchange, cap: int, found: Found) -> Grpc:
    request, response, end = exchange.request, exchange.response, exchange.response_end
    told = () if end is None else end.trailers
    if response is not None and not _header(told, "grpc-status"):
        told = response.headers  # trailers-only
    path = redaction.target(None if request is None else request.path, found)
    service, method = _called(path)
    head = request or response
    media = "" if head is None else _header(head.headers, "content-type").lower()
    shown = [m for m in exchange.messages if type(m) is GrpcFrame]
    return Grpc(
        service=service,
        method=method,
        status=_status(_header(told, "grpc-status")),
        message=unquote(_header(told, "grpc-message"))[:_MAX_MESSAGE] or None,
        messages=tuple(_grpc_message(frame, media, cap, found) for frame in shown),
    )


def _called(path: str | None) -> tuple[str | None, str | None]:
    """`/package.Service/Method`; what stands before it is a proxy's."""
    if path is None:
        return None, None
    service, slash, method = path.partition("?")[0].lstrip("/").rpartition("/")
    return (service, method) if slash else (None, None)


def _status(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else None


def _grpc_message(frame: GrpcFrame, media: str, cap: int, found: Found) -> Message:
    """A message is Protocol Buffers, and base64, unless its type says another."""
    data, cut, decoded = frame.data[:cap], _cut(frame, cap), False
    if frame.encoding is not None and data:
        applied = inflate.codings(frame.encoding)
        inflated = inflate.inflate(data, applied, inflate.Limits(output=cap)) if applied else None
        if inflated is not None:
            decoded, data = True, inflated.data
            cut = cut if inflated.cut is None else "bomb" if inflated.cut == "bomb" else "cap"
    is_text = not media.partition(";")[0].endswith(("grpc", "grpc-web", "grpc-web-text", "+proto"))
    data = redaction_bodies.body(data, _JSON if "json" in media else "", found)
    text = _text(data, cut) if is_text else None
    return Message(
        sender="client" if frame.side == "request" else "server",
        time=rfc3339(frame.time_ns) or _NO_TIME,
        type="message",
        size=frame.size,
        captured=min(len(frame.data), cap),
        truncated=cut is not None,
        truncated_by=cut,
        text=text,
        base64=_base64(data) if text is None else None,
        encoding=frame.encoding,
        decoded=decoded,
    )


def websocket(exchange: Exchange, cap: int, found: Found) -> WebSocket:
    shown = [m for m in exchange.messages if type(m) is WebSocketFrame]
    close = next((m for m in shown if m.kind == "close"), None)
    if exchange.parts is not None:
        close = exchange.parts.close or close
    return WebSocket(
        messages=tuple(_websocket_message(frame, cap, found) for frame in shown),
        close_code=None if close is None else close.close_code,
        close_reason=None if close is None else _reason(close, found),
    )


def _websocket_message(frame: WebSocketFrame, cap: int, found: Found) -> Message:
    kept, cut = frame.data[:cap], _cut(frame, cap)
    data = redaction_bodies.body(kept, _JSON if frame.kind == "text" else "", found)
    text = None if frame.kind == "binary" else _text(data, cut)
    return Message(
        sender=frame.sender,
        time=rfc3339(frame.time_ns) or _NO_TIME,
        type=frame.kind,
        size=frame.size,
        captured=len(kept),
        truncated=cut is not None,
        truncated_by=cut,
        text=text,
        base64=_base64(data) if text is None else None,
        encoding="permessage-deflate" if frame.compressed else None,
        decoded=frame.compressed,
    )


def _reason(close: WebSocketFrame, found: Found) -> str | None:
    return redaction_bodies.body(close.data, _JSON, found).decode(errors="replace") or None


def _cut(frame: GrpcFrame | WebSocketFrame, cap: int) -> Cut | None:
    return "cap" if len(frame.data) > cap else frame.truncated_by


def _text(data: bytes, cut: Cut | None) -> str | None:
    """None where it is no UTF-8; a cut may be within a character."""
    if not data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError as broken:
        if cut is None or not broken.start or len(data) - broken.start > 3:
            return None
        return data[: broken.start].decode()


def _base64(data: bytes) -> str | None:
    return b64encode(data).decode() if data else None


def _header(headers: Headers, wanted: str) -> str:
    for name, value in headers:
        if name is not None and value and len(name) == len(wanted) and name.lower() == wanted:
            return value
    return ""
