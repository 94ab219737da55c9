"""Takes secrets out of JSON and form bodies, by the names that hold them.

Works on the bytes: what is no secret's value stays byte for byte, and a body that is cut short or
broken is redacted as far as it goes. Knows no other media types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from services.collect import sensitive
from services.collect.redaction import REPLACEMENT, Found, pairs

_FORM = "application/x-www-form-urlencoded"
_JSON_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)?\s*[\[{]")
_STRING = rb'"((?:[^"\\]|\\.|\\\Z)*+)("?)'
_NAMED = re.compile(_STRING + rb"\s*(:?)\s*", re.DOTALL)
_TOKEN = re.compile(
    _STRING + rb'\s*(:?)|(?P<opens>[\[{])|(?P<closes>[\]}])|[^\s\[\]{},:"]+', re.DOTALL
)
_VALUE = REPLACEMENT.encode()
_QUOTED = b'"' + _VALUE + b'"'
_NULL = b"null"


def body(data: bytes, media_type: str, found: Found) -> bytes:
    """`media_type` is the Content-Type as sent, or empty."""
    if not _may_hold_a_name(data):
        return data
    kind = media_type.lower()
    if kind.startswith(_FORM):
        return pairs(data.decode("latin-1"), "body", found).encode("latin-1")
    if "json" in kind or _JSON_BEGINS.match(data):
        return _json(data, found)
    return data


def _may_hold_a_name(data: bytes) -> bool:
    lowered = data.lower()
    # An escape may spell any letter: \u0074oken in JSON, %74oken in a form.
    if b"\\u" in lowered or b"%" in lowered:
        return True
    return any(fragment in lowered for fragment in sensitive.FRAGMENTS)


def _json(data: bytes, found: Found) -> bytes:
    """All strings in their order: one that a colon follows is a name."""
    out: list[bytes] = []
    copied = position = 0
    while (string := _NAMED.search(data, position)) is not None:
        position = string.end()
        rule = _rule(string[1]) if string[3] else None
        if rule is not None:
            for start, end, replacement in _leaves(data, position):
                out += (data[copied:start], replacement)
                copied = position = end
                found.append(f"body.{rule}")
    if not out:
        return data
    return b"".join((*out, data[copied:]))


def _rule(name: bytes) -> str | None:
    text = name.decode(errors="replace")
    if "\\" in text:
        try:
            text = msgspec.json.decode(b'"%b"' % name, type=str)
        except msgspec.DecodeError:
            return None
    return sensitive.rule(text)


def _leaves(data: bytes, position: int) -> Iterator[tuple[int, int, bytes]]:
    """Every leaf of the value at `position`, with what takes its place; null tells nothing."""
    depth = 0
    token = _TOKEN.match(data, position)
    while token is not None:
        name = bool(token[3]) and depth > 0
        if token["opens"]:
            depth += 1
        elif token["closes"]:
            depth -= 1
        elif token[1] is not None and not name:
            yield token.start(), token.end(2), _QUOTED if token[2] else _QUOTED[:-1]
        elif token[1] is None and token[0] != _NULL:
            yield token.start(), token.end(), _QUOTED
        if depth <= 0:
            return
        token = _TOKEN.search(data, token.end())
