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
_REACH = 64  # bytes to either side of a fragment in a name: what is longer costs no more
_LIKELY = re.compile(rb'((?:%b)[^"\\]{0,%d})"\s*:\s*' % (b"|".join(sensitive.FRAGMENTS), _REACH))
_VALUE = REPLACEMENT.encode()
_QUOTED = b'"' + _VALUE + b'"'
_NULL = b"null"


def body(data: bytes, media_type: str, found: Found) -> bytes:
    """`media_type` is the Content-Type as sent, or empty."""
    lowered = data.lower()
    # An escape may spell any letter: \u0074oken in JSON, %74oken in a form.
    escaped = b"\\u" in lowered
    if not (escaped or b"%" in lowered or any(part in lowered for part in sensitive.FRAGMENTS)):
        return data
    kind = media_type.lower()
    if kind.startswith(_FORM):
        return pairs(data.decode("latin-1"), "body", found).encode("latin-1")
    if "json" in kind or _JSON_BEGINS.match(data):
        names = _every_name(data) if escaped else _likely_names(data, lowered)
        return _json(data, names, found)
    return data


def _json(data: bytes, names: Iterator[tuple[bytes, int]], found: Found) -> bytes:
    out: list[bytes] = []
    copied = 0
    for name, position in names:
        rule = _rule(name) if position >= copied else None
        if rule is not None:
            for start, end, replacement in _leaves(data, position):
                out += (data[copied:start], replacement)
                copied = end
                found.append(f"body.{rule}")
    if not out:
        return data
    return b"".join((*out, data[copied:]))


def _likely_names(data: bytes, lowered: bytes) -> Iterator[tuple[bytes, int]]:
    """Strings that hold a fragment and that a colon follows, with where the value begins. Outside
    of strings JSON has no such letters; names with escapes are `_every_name`'s."""
    for match in _LIKELY.finditer(lowered):
        start = data.rfind(b'"', max(0, match.start() - _REACH), match.start()) + 1
        if start:
            yield data[start : match.end(1)], match.end()


def _every_name(data: bytes) -> Iterator[tuple[bytes, int]]:
    """All strings in their order: one that a colon follows is a name."""
    for string in _NAMED.finditer(data):
        if string[3]:
            yield string[1], string.end()


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
