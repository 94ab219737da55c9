"""Redacts a body that comes in parts: a secret's name may stand in one and its value in the next.

Knows what a part leaves open and what of it must wait for the next; what a secret is, is
`redaction_bodies`'. Behind a hole nothing is shown until where a value can't go on.
"""

from __future__ import annotations

import re

from msgspec import Struct

from services.collect import redaction_bodies
from services.collect.redaction import Found
from services.collect.redaction_bodies import Kind, Secret

_NAME = 256  # bytes of a name that is not whole yet; no listed one is as long, escapes included
_PAIR = 1024
_DEEPEST = 4096
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?P<escape>\\?)(?P<end>"?)', re.DOTALL)
_RESUMES = {
    "json": re.compile(rb"\n(?=[\[{])"),  # the next of newline-delimited values, not indented
    "events": re.compile(rb"\r?\n\r?\n"),
}
_MARKER = 4


class Veil(Struct):
    """What a part leaves open: within the value of the secret `rule`, `depth` brackets deep; within
    a string where `tail` is its quote. `blind`: behind a hole; `passed` is the end of what was."""

    kind: Kind | None = None
    known: bool = False
    rule: str = ""
    depth: int = 0
    tail: bytes = b""
    blind: bool = False
    passed: bytes = b""


def show(veil: Veil, data: bytes, wait: int, found: Found) -> tuple[bytes, bytes]:
    """Redacted, and what is to wait for the next part: at most `wait` bytes."""
    unsettled = max(_unsettled(veil, data), _unfinished_character(data)) if wait else 0
    border = len(data) - unsettled if unsettled <= wait else len(data)
    shown, held = data[:border], data[border:]
    match veil.kind:
        case "json" | "events":
            return _json(veil, shown, found), held
        case "form":
            return _form(veil, shown, found), held
    return shown, held


def learn(veil: Veil, data: bytes, media_type: str) -> None:
    """What it is, from its first bytes."""
    if not veil.known and data:
        veil.kind = redaction_bodies.kind(data, media_type)
        veil.known = veil.kind is not None or bool(data.strip())


def lose(veil: Veil, media_type: str) -> None:
    """Bytes are missing here."""
    if not veil.known:
        veil.kind = redaction_bodies.kind(b"", media_type)
    veil.rule, veil.depth, veil.tail, veil.passed = "", 0, b"", b""
    veil.blind = veil.kind is not None


def resume(veil: Veil, data: bytes) -> int | None:
    """Where in `data` a value may begin anew; None where it doesn't, and forms never do."""
    marker = _RESUMES.get(veil.kind or "")
    if marker is None:
        return None
    joined = veil.passed + data
    match = marker.search(joined)
    if match is None:
        veil.passed = joined[-_MARKER:]
        return None
    position = match.end() - len(veil.passed)
    veil.blind, veil.passed = False, b""
    return max(position, 0)


# --- JSON -----------------------------------------------------------------------------------------


def _json(veil: Veil, data: bytes, found: Found) -> bytes:
    """Before it stands, in short, what earlier parts left open; it is taken off again."""
    opening = b'"%b":' % veil.rule.encode() + b"[" * veil.depth if veil.rule else b""
    whole = opening + veil.tail + data
    redacted, last = redaction_bodies.json(whole, found)
    begun = len(opening) + len(veil.tail)
    if veil.tail:
        begun = len(opening) + (1 if veil.rule else len(veil.tail))
    _leave_open(veil, whole, last)
    return redacted[begun:]


def _leave_open(veil: Veil, whole: bytes, last: Secret | None) -> None:
    veil.rule, veil.depth, veil.tail = "", 0, b""
    if last is not None:
        depth = redaction_bodies.left_open(whole, last.position)
        if depth is not None:
            veil.rule, veil.depth = last.rule, min(depth, _DEEPEST)
    if (unended := _last_string(whole)) and not unended["end"]:
        veil.tail = b'"' + unended["escape"]


def _last_string(data: bytes) -> re.Match[bytes] | None:
    """Of the last line: no string of JSON holds the end of one."""
    last = None
    for string in _STRING.finditer(data, data.rfind(b"\n") + 1):
        last = string
    return last


def _unsettled(veil: Veil, data: bytes) -> int:
    """Bytes at the end of `data` that may be the begin of a name, or of a pair."""
    if veil.kind == "form":
        pair = len(data) - data.rfind(b"&", max(0, len(data) - _PAIR)) - 1
        return pair if pair <= _PAIR else 0
    if veil.kind is None:
        return 0
    whole = veil.tail + data
    last = _last_string(whole)
    if last is None or (last["end"] and whole[last.end() :].strip()):
        return 0
    begun = len(whole) - last.start()
    return begun if begun <= min(_NAME, len(data)) else 0


def _unfinished_character(data: bytes) -> int:
    """Bytes of a UTF-8 character whose end is not here."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4 if byte < 0xF8 else 1
            return back if back < length else 0
        if byte < 0x80:
            return 0
    return 0


# --- forms ----------------------------------------------------------------------------------------


def _form(veil: Veil, data: bytes, found: Found) -> bytes:
    opening = veil.rule.encode() + b"=" if veil.rule else b""
    redacted = redaction_bodies.form(opening + data, found)
    last = (opening + data).rpartition(b"&")[2]
    left: Found = []
    redaction_bodies.form(last, left)
    veil.rule = left[0].partition(".")[2] if left else ""
    return redacted[len(opening) :]
