"""What is shown of a body: its kept prefix, decoded, redacted, as text where it is UTF-8.

Knows sizes, cuts and their reasons. Where bytes are kept or lost is decided before it.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Literal, NamedTuple

from services import inflate
from services.collect import redaction_bodies
from services.collect.redaction import Found
from services.collect.state import BodySoFar
from services.messages import Body, EndFrame, Headers

_EMPTY = Body(size=0, captured=0, truncated=False)
_SIZE_UNKNOWN = Body(size=None, captured=0, truncated=False)
_ENDS_WITHIN_CHARACTER = "unexpected end of data"

Cut = Literal["cap", "gap", "bomb"]


class Meta(NamedTuple):
    headers: Headers
    cap: int
    size_known: bool = True  # without an end: whether all that passed was seen


class _Shown(NamedTuple):
    data: bytes
    cut: Cut | None
    decoded: bool


def show(so_far: BodySoFar | None, end: EndFrame | None, meta: Meta, found: Found) -> Body:
    encoding = _header(meta.headers, "content-encoding")
    if so_far is None:
        return _bodiless(end is not None or meta.size_known, encoding)
    shown = _decoded(b"".join(so_far.chunks), so_far.stopped, encoding, meta.cap)
    data = redaction_bodies.body(shown.data, _header(meta.headers, "content-type"), found)
    text, dropped = _text(data, shown.cut)
    return Body(
        size=end.size if end is not None else so_far.reached if meta.size_known else None,
        captured=so_far.kept if shown.decoded else so_far.kept - dropped,
        truncated=shown.cut is not None,
        truncated_by=shown.cut,
        text=text,
        base64=b64encode(data).decode() if text is None and data else None,
        content_encoding=encoding or None,
        decoded=shown.decoded,
    )


def _bodiless(size_known: bool, encoding: str) -> Body:
    if encoding:
        return Body(
            size=0 if size_known else None, captured=0, truncated=False, content_encoding=encoding
        )
    return _EMPTY if size_known else _SIZE_UNKNOWN


def _header(headers: Headers, wanted: str) -> str:
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
