"""Makes of a witness the bytes that go to the bus, within what a message may hold.

Body bytes and messages' content go first, and the witness says so; then whole messages, and the
witness is called `oversize`. Knows sizes; not subjects nor the bus.
"""

from __future__ import annotations

import msgspec

from services.messages import Body, Grpc, Message, Request, Response, WebSocket, Witness

_encode = msgspec.json.Encoder().encode
_SMALLEST = 256  # characters of a body that are not worth another round
_OVERSIZE = "oversize"


def encode(witness: Witness, most: int) -> bytes:
    """At most `most` bytes. Where contents are not what makes it large, the headers go too."""
    payload = _encode(witness)
    while len(payload) > most:
        over = len(payload) - most
        smaller = (
            _with_less_content(witness)
            or _with_less_body(witness, over)
            or _with_fewer_messages(witness)
            or _without_heads(witness)
        )
        if smaller == witness:
            break
        witness = smaller
        payload = _encode(witness)
    return payload


def message_id(witness: Witness) -> str:
    return f"{witness.id}/{witness.part}"


def _with_less_content(witness: Witness) -> Witness | None:
    """The longest messages give, as bodies do; None where none has anything to give."""
    messages = _messages(witness)
    longest = max((len(m.text or m.base64 or "") for m in messages), default=0)
    if not longest:
        return None
    keep = longest // 2 if longest >= _SMALLEST else 0
    return _with(witness, tuple(_shortened(m, keep) for m in messages))


def _shortened(message: Message, keep: int) -> Message:
    shown = message.text or message.base64 or ""
    if len(shown) <= keep:
        return message
    text = message.text[:keep] if message.text else None
    base64 = None if message.text else shown[: keep - keep % 4]
    left = len(text.encode()) if text else len(base64 or "") // 4 * 3
    return msgspec.structs.replace(
        message,
        captured=message.captured if message.decoded else left,
        truncated=True,
        truncated_by="cap",
        text=text or None,
        base64=base64 or None,
    )


def _with_fewer_messages(witness: Witness) -> Witness | None:
    """The last half goes; None where there are none."""
    messages = _messages(witness)
    if not messages:
        return None
    reasons = witness.partial_reasons
    if _OVERSIZE not in reasons:
        witness = msgspec.structs.replace(witness, partial_reasons=(*reasons, _OVERSIZE))
    return _with(witness, messages[: len(messages) // 2])


def _messages(witness: Witness) -> tuple[Message, ...]:
    talk: Grpc | WebSocket | None = witness.grpc or witness.websocket
    return () if talk is None else talk.messages


def _with(witness: Witness, messages: tuple[Message, ...]) -> Witness:
    if witness.grpc is not None:
        grpc = msgspec.structs.replace(witness.grpc, messages=messages)
        return msgspec.structs.replace(witness, grpc=grpc)
    assert witness.websocket is not None, "its messages are somewhere"
    websocket = msgspec.structs.replace(witness.websocket, messages=messages)
    return msgspec.structs.replace(witness, websocket=websocket)


def _with_less_body(witness: Witness, over: int) -> Witness | None:
    """The larger body gives; None where there is nothing left to give."""
    request, response = witness.request, witness.response
    asked, answered = _shown(request), _shown(response)
    if not asked and not answered:
        return None
    if request is not None and asked > answered:
        body = _cut(request.body, over)
        return msgspec.structs.replace(witness, request=msgspec.structs.replace(request, body=body))
    assert response is not None, "its body is the larger one"
    body = _cut(response.body, over)
    return msgspec.structs.replace(witness, response=msgspec.structs.replace(response, body=body))


def _shown(message: Request | Response | None) -> int:
    if message is None:
        return 0
    return len(message.body.text or message.body.base64 or "")


def _cut(body: Body, over: int) -> Body:
    """A character takes one to six bytes of JSON: so many go as would do if each took six, and the
    next round takes what is still too much."""
    shown = body.text or body.base64 or ""
    keep = max(0, len(shown) - max(over // 6, len(shown) // 8, 1))
    if keep < _SMALLEST:
        keep = 0
    text = base64 = None
    if body.text:
        text = body.text[:keep] or None
        left = len(body.text[:keep].encode())
    else:
        base64 = shown[: keep - keep % 4] or None
        left = len(base64 or "") // 4 * 3
    return msgspec.structs.replace(
        body,
        captured=body.captured if body.decoded else left,
        truncated=True,
        truncated_by="cap",
        text=text,
        base64=base64,
    )


def _without_heads(witness: Witness) -> Witness:
    request, response = witness.request, witness.response
    if request is not None:
        request = msgspec.structs.replace(request, path=None, headers=(), trailers=())
    if response is not None:
        response = msgspec.structs.replace(response, headers=(), trailers=(), interim=())
    reasons = witness.partial_reasons
    if _OVERSIZE not in reasons:
        reasons = (*reasons, _OVERSIZE)
    return msgspec.structs.replace(
        witness, request=request, response=response, partial_reasons=reasons
    )
