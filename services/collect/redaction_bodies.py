"""Takes secrets out of JSON (also in SSE), forms and multipart bodies, by the names that hold them.

Works on the bytes: what is no secret's value stays byte for byte, and a body that is cut short or
broken is redacted as far as it goes. Knows no other media types, and no body but whole ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec

from services.collect import sensitive
from services.collect.redaction import REPLACEMENT, Found, pairs

Kind = Literal["json", "events", "form"]

EVENTS = "text/event-stream"
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_UNTOLD = frozenset({"", "text/plain", "application/octet-stream"})
_FORM_LIKE = re.compile(rb"[\w.\-\[\]%+]{1,64}=\S*\s?")
_BOUNDARY = re.compile(r"""\bboundary\s*=\s*(?:"([^"]+)"|([^";,\s]+))""", re.IGNORECASE)
_BORDER = re.compile(rb"^--[^\r\n]+", re.MULTILINE)
_BLANK = re.compile(rb"\n\r?\n")
_PART_NAME = re.compile(rb"""(?<![\w*])name\s*=\s*(?:"((?:[^"\\]|\\.)*+)|([^";\s]+))""", re.I)
_JSON_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)?\s*[\[{]")
_STRING = rb'"((?:[^"\\]|\\.|\\\Z)*+)("?)'
_NAMED = re.compile(_STRING + rb"\s*(:?)\s*", re.DOTALL)
_TOKEN = re.compile(
    _STRING + rb'\s*(:?)|(?P<opens>[\[{])|(?P<closes>[\]}])|[^\s\[\]{},:"]+', re.DOTALL
)
_SUSPECT = (b"\\u", b"%", *sensitive.FRAGMENTS)
_REACH = 64  # bytes to either side of a fragment in a name: what is longer costs no more
_SHORT = rb"(?:%b)(?![a-z])" % b"|".join(sensitive.SHORT)
_ENDS_SHORT = re.compile(_SHORT)
_LIKELY = re.compile(
    rb'((?:%b|%b)[^"\\]{0,%d})"\s*:\s*' % (b"|".join(sensitive.FRAGMENTS), _SHORT, _REACH)
)
_NUMBER = re.compile(rb"-?[0-9][0-9.eE+-]*(?![^\s,}\]])")
_VALUE = REPLACEMENT.encode()
_QUOTED = b'"' + _VALUE + b'"'
_NULL = b"null"


def body(data: bytes, media_type: str, found: Found) -> bytes:
    """`media_type` is the Content-Type as sent, or empty."""
    if not may_hold_secrets(data):
        return data
    if (codec := _wide(data)) is not None:
        return _wide_json(data, codec, found)
    if media_type.lower().startswith(_MULTIPART):
        return multipart(data, media_type, found)
    match kind(data, media_type):
        case "form" if _JSON_BEGINS.match(data):  # of clients that call everything a form
            return form(json(data, found)[0], found)
        case "form":
            return form(data, found)
        case "json" | "events":
            return json(data, found)[0]
    return form(data, found) if _may_be_form(data, media_type) else data


def kind(data: bytes, media_type: str) -> Kind | None:
    """None where no secrets are looked for."""
    lowered = media_type.lower()
    if lowered.startswith(_FORM):
        return "form"
    if lowered.startswith(EVENTS):
        return "events"
    return "json" if "json" in lowered or _JSON_BEGINS.match(data) else None


def form(data: bytes, found: Found) -> bytes:
    return pairs(data.decode("latin-1"), "body", found).encode("latin-1")


def _may_be_form(data: bytes, media_type: str) -> bool:
    """Nothing says what it is, and it looks like one."""
    untold = media_type.partition(";")[0].strip().lower() in _UNTOLD
    return untold and _FORM_LIKE.fullmatch(data) is not None


def multipart(data: bytes, media_type: str, found: Found) -> bytes:
    """Parts by their names (RFC 7578), behind any preamble; the last may be cut short."""
    if (border := _border(data, media_type)) is None:
        return data
    border = b"\n" + border
    parts = (b"\n" + data).split(border)
    return border.join(_part(part, found) for part in parts)[1:]


def _border(data: bytes, media_type: str) -> bytes | None:
    """As the media type says, where that is so; else the first line that looks like one."""
    if told := _BOUNDARY.search(media_type):
        border = b"--" + (told[1] or told[2]).encode("latin-1", "replace")
        if b"\n" + border in b"\n" + data:
            return border
    first = _BORDER.search(data)
    return first[0].rstrip() if first else None


def _part(part: bytes, found: Found) -> bytes:
    blank = _BLANK.search(part)
    name = _PART_NAME.search(part, 0, blank.start()) if blank else None
    if blank is None or name is None or blank.end() == len(part):
        return part
    head, value = part[: blank.end()], part[blank.end() :]
    text = (name[1] or name[2] or b"").decode(errors="replace")
    rule = sensitive.rule(text, value.decode("latin-1"))
    if rule is not None:
        found.append(f"body.{rule}")
        return head + _VALUE + (b"\r" if value.endswith(b"\r") else b"")
    return head + json(value, found)[0] if _JSON_BEGINS.match(value) else part


def _wide(data: bytes) -> str | None:
    """The codec of JSON in UTF-16."""
    start = data[:4].removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")[:2]
    if start in (b"{\0", b"[\0"):
        return "utf-16-le"
    return "utf-16-be" if start in (b"\0{", b"\0[") else None


def _wide_json(data: bytes, codec: str, found: Found) -> bytes:
    cut = len(data) & ~1
    narrow = data[:cut].decode(codec, "surrogatepass").encode(errors="surrogatepass")
    redacted = json(narrow, found)[0]
    if redacted == narrow:
        return data
    return redacted.decode(errors="surrogatepass").encode(codec, "surrogatepass")


def may_hold_secrets(data: bytes) -> bool:
    """An escape may spell any letter: \\u0074oken in JSON, %74oken in a form."""
    if b"\0" in data[:4]:
        return True
    lowered = data.lower()
    for part in _SUSPECT:
        if part in lowered:
            return True
    return any(part in lowered for part in sensitive.SHORT) and bool(_ENDS_SHORT.search(lowered))


class Secret(NamedTuple):
    """Where the value of a secret name begins."""

    rule: str
    position: int


def json(data: bytes, found: Found) -> tuple[bytes, Secret | None]:
    """Also the last secret, whose value may not end here."""
    lowered = data.lower()
    names = _every_name(data) if b"\\u" in lowered else _likely_names(data, lowered)
    out: list[bytes] = []
    copied, last = 0, None
    for name, position in names:
        rule = _rule(name, data, position) if position >= copied else None
        if rule is not None:
            last = Secret(rule, position)
            for start, end, replacement in _leaves(data, position):
                out += (data[copied:start], replacement)
                copied = end
                found.append(f"body.{rule}")
    if not out:
        return data, last
    return b"".join((*out, data[copied:])), last


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


def _rule(name: bytes, data: bytes, position: int) -> str | None:
    text = name.decode(errors="replace")
    if "\\" in text:
        try:
            text = msgspec.json.decode(b'"%b"' % name, type=str)
        except msgspec.DecodeError:
            return None
    number = _NUMBER.match(data, position)
    return sensitive.rule(text, number[0].decode() if number else "")


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


def left_open(data: bytes, position: int) -> int | None:
    """How many brackets the value at `position` still has open where `data` ends; None where the
    value has ended. A word that reaches the end may go on."""
    depth = 0
    token = _TOKEN.match(data, position)
    if token is None and position < len(data):
        return None
    while token is not None:
        if token["opens"]:
            depth += 1
        elif token["closes"]:
            depth -= 1
        elif token.end() == len(data) and not token[2]:
            return depth
        if depth <= 0:
            return None
        token = _TOKEN.search(data, token.end())
    return depth
