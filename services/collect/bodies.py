"""What is shown of a body, or of a part of it: what is kept, decoded, redacted, as text if UTF-8.

Knows sizes, cuts and their reasons. Where bytes are kept or lost is decided before it.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Literal, NamedTuple

from services import inflate
from services.collect import redaction_bodies, redaction_streams, unpacking
from services.collect.redaction import Found
from services.collect.redaction_streams import Veil
from services.collect.state import BodySoFar, Carry
from services.collect.unpacking import Unpacking
from services.messages import Body, EndFrame, Headers

_EMPTY = Body(size=0, captured=0, truncated=False)
_SIZE_UNKNOWN = Body(size=None, captured=0, truncated=False)
_ENDS_WITHIN_CHARACTER = "unexpected end of data"

Cut = Literal["cap", "gap", "bomb", "coding"]


class Meta(NamedTuple):
    headers: Headers
    cap: int
    size_known: bool = True  # without an end: whether all that passed was seen
    coded: int = 0  # bytes of a coded body in parts that are kept for what comes
    last: bool = True  # no part follows


class _Shown(NamedTuple):
    data: bytes
    cut: Cut | None
    decoded: bool


def show(so_far: BodySoFar | None, end: EndFrame | None, meta: Meta, found: Found) -> Body:
    encoding = header(meta.headers, "content-encoding")
    if so_far is None:
        return _bodiless(end is not None or meta.size_known, encoding)
    shown = _decoded(b"".join(so_far.chunks), so_far.stopped, encoding, meta.cap)
    data = shown.data
    if redaction_bodies.may_hold_secrets(data):
        data = redaction_bodies.body(data, header(meta.headers, "content-type"), found)
    text, dropped = _text(data, shown.cut)
    return Body(
        size=end.size if end is not None and not end.torn else _size(so_far, end, meta),
        captured=so_far.kept if shown.decoded else so_far.kept - dropped,
        truncated=shown.cut is not None,
        truncated_by=shown.cut,
        text=text,
        base64=b64encode(data).decode() if text is None and data else None,
        content_encoding=encoding or None,
        decoded=shown.decoded,
    )


def counted(so_far: BodySoFar | None, end: EndFrame | None, meta: Meta) -> Body:
    """One whose bytes are shown elsewhere, as messages. The next part begins behind it."""
    if so_far is None:
        return _bodiless(end is not None or meta.size_known, "")
    size, offset, gap = _size(so_far, end, meta), so_far.offset, so_far.stopped == "gap"
    _begin_next(so_far, b"")
    return Body(
        size=size, offset=offset, captured=0, truncated=gap, truncated_by="gap" if gap else None
    )


def show_part(so_far: BodySoFar | None, end: EndFrame | None, meta: Meta, found: Found) -> Body:
    """What has come since the last part; moves `so_far` behind it. What can't be shown without what
    follows waits for the next part."""
    encoding = header(meta.headers, "content-encoding")
    if so_far is None:
        return _bodiless(end is not None or meta.size_known, encoding)
    carry = so_far.carry = so_far.carry or _carry(encoding, meta)
    data, cut = _undone(so_far, carry, meta)
    decoded = carry.unpacking is not None
    redaction_streams.learn(carry.veil, data, header(meta.headers, "content-type"))
    waits = 0 if meta.last or end is not None or cut is not None else meta.cap // 2
    shown, held = redaction_streams.show(carry.veil, data, waits, found)
    if len(shown) > meta.cap:
        shown, cut = shown[: meta.cap], "cap"
    text, dropped = _text(shown, cut)
    carry.held, waiting = (held, b"") if decoded else (b"", held)
    lost = carry.unpacking is not None and carry.unpacking.lost is not None and not data
    body = Body(
        size=_size(so_far, end, meta, len(waiting)),
        offset=so_far.offset,
        captured=0 if lost else so_far.kept if decoded else so_far.kept - len(waiting) - dropped,
        truncated=cut is not None,
        truncated_by=cut,
        text=text,
        base64=b64encode(shown).decode() if text is None and shown else None,
        content_encoding=encoding or None,
        decoded=decoded and not lost,
    )
    if so_far.stopped is not None:
        _lose(carry, so_far.stopped, header(meta.headers, "content-type"))
    _begin_next(so_far, waiting)
    return body


def _carry(encoding: str, meta: Meta) -> Carry:
    applied = inflate.codings(encoding) if encoding else ()
    return Carry(Veil(), Unpacking(applied) if inflate.are_known(applied) else None)


def _undone(so_far: BodySoFar, carry: Carry, meta: Meta) -> tuple[bytes, Cut | None]:
    data = b"".join(so_far.chunks)
    if carry.unpacking is None:
        return data, so_far.stopped
    limits = unpacking.Limits(coded=meta.coded, output=inflate.Limits().bomb_bytes)
    found = unpacking.unpack(carry.unpacking, data, limits)
    held, carry.held = carry.held, b""
    lost = carry.unpacking.lost
    if found.raw:
        carry.unpacking = None
    return held + found.data, lost or so_far.stopped


def _lose(carry: Carry, why: Literal["cap", "gap"], media_type: str) -> None:
    """Behind a hole no coding can be undone, and a secret may go on."""
    redaction_streams.lose(carry.veil, media_type)
    if carry.unpacking is not None and carry.unpacking.lost is None:
        unpacking.lose(carry.unpacking, why)
    carry.held = b""


def _begin_next(so_far: BodySoFar, waiting: bytes) -> None:
    so_far.chunks = [waiting] if waiting else []
    so_far.kept = len(waiting)
    so_far.offset = so_far.reached - len(waiting)
    so_far.stopped = None


def _size(so_far: BodySoFar, end: EndFrame | None, meta: Meta, waiting: int = 0) -> int | None:
    if end is not None:
        return None if end.torn else end.size - so_far.offset
    return so_far.reached - so_far.offset - waiting if meta.size_known else None


def _bodiless(size_known: bool, encoding: str) -> Body:
    if encoding:
        return Body(
            size=0 if size_known else None, captured=0, truncated=False, content_encoding=encoding
        )
    return _EMPTY if size_known else _SIZE_UNKNOWN


def header(headers: Headers, wanted: str) -> str:
    """All its values, joined as RFC 9110 §5.3 says; empty where there is none."""
    found = ""
    for name, value in headers:
        if name is not None and len(name) == len(wanted) and name.lower() == wanted and value:
            found = f"{found}, {value}" if found else value
    return found


def _decoded(data: bytes, stopped: Cut | None, encoding: str, cap: int) -> _Shown:
    """What cuts the decoded bytes first is the reason: a limit comes before the input's end."""
    applied = inflate.codings(encoding) if encoding and data else ()
    if not applied:
        return _Shown(data, stopped, False)
    inflated = inflate.inflate(data, applied, inflate.Limits(output=cap))
    if inflated is None:
        return _Shown(data, stopped, False)
    cut: Cut | None = stopped
    if inflated.cut is not None:
        cut = "bomb" if inflated.cut == "bomb" else "cap"
    return _Shown(inflated.data, cut, True)


def _text(data: bytes, cut: Cut | None) -> tuple[str | None, int]:
    """None where it is no UTF-8. A cut within a character would make a text none: its first bytes
    are dropped then."""
    if not data:
        return None, 0
    try:
        return data.decode(), 0
    except UnicodeDecodeError as broken:
        if cut is None or broken.reason != _ENDS_WITHIN_CHARACTER or not broken.start:
            return None, 0
        return data[: broken.start].decode(), len(data) - broken.start
