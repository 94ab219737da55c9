"""The head of an HTTP/1 message: its first line, its fields, and what they say of the body.

Reads whole heads only (http1.py finds where one ends). Names come out in lower case: they are
case-insensitive (RFC 9110 §5.1), and HTTP/2 sends them so; values as sent, in UTF-8 where they are,
else Latin-1. Field blocks and lines repeat from message to message: recent ones are remembered.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec
from msgspec import Struct

from services.messages import Headers

Version = Literal["http/1.0", "http/1.1"]
_VERSIONS: dict[bytes, Version] = {b"HTTP/1.1": "http/1.1", b"HTTP/1.0": "http/1.0"}

_MAX_REMEMBERED = 2048
_MAX_KEY = 2048
_MAX_LINE = 256
_MAX_DIGITS = 18


class Framing(Struct, frozen=True):
    """What headers say of the message. `length` is that of Content-Length, `coded` says that
    Transfer-Encoding frames the body, and `chunked` that its last coding is chunked; `anomaly` is
    what is wrong without being fatal."""

    length: int | None = None
    coded: bool = False
    chunked: bool = False
    host: str | None = None
    upgrade: str | None = None
    media: str | None = None  # Content-Type
    anomaly: str = ""
    expects: bool = False  # 100-continue, before its body


class Fields(Struct, frozen=True):
    headers: Headers = ()
    framing: Framing = Framing()
    size: int = 0  # an upper bound of the headers' size when encoded


class RequestLine(Struct, frozen=True):
    method: str
    target: str
    version: Version


class StatusLine(Struct, frozen=True):
    status: int
    version: Version


_REMEMBERED: dict[bytes, Fields] = {}
_LINES: dict[bytes, tuple[tuple[str, str], int]] = {}
_FRAMINGS: dict[tuple[tuple[str, str], ...], Framing] = {}
_TELLING = frozenset(
    {"content-length", "transfer-encoding", "host", "upgrade", "content-type", "expect"}
)
_SPACED = re.compile(rb"^[^:\n]*[ \t]:", re.MULTILINE)
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def request_line(line: bytes) -> RequestLine | None:
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    known = _VERSIONS.get(version)
    if known is None or not method or not target or not _TOKEN.issuperset(method):
        return None
    return RequestLine(method.decode("ascii"), text(target), known)


def status_line(line: bytes) -> StatusLine | None:
    known = _VERSIONS.get(line[:8])
    digits = line[9:12]
    if known is None or line[8:9] != b" " or line[12:13] not in (b"", b" "):
        return None
    if len(digits) != 3 or not digits.isdigit() or not b"1" <= digits[:1] <= b"9":
        return None
    return StatusLine(int(digits), known)


def fields(block: bytes) -> Fields | None:
    """The lines after the first one. None where they are no header fields."""
    known = _REMEMBERED.get(block)
    if known is not None:
        return known
    parsed = _parse(block)
    if parsed is not None and len(block) <= _MAX_KEY:
        if len(_REMEMBERED) >= _MAX_REMEMBERED:
            _REMEMBERED.clear()
        _REMEMBERED[block] = parsed
    return parsed


def _parse(block: bytes) -> Fields | None:
    headers, telling, size = [], [], 0
    for line in _lines(block):
        known = _LINES.get(line) or _header(line)
        if known is None:
            return None
        header = known[0]
        headers.append(header)
        size += known[1]
        if header[0] in _TELLING:
            telling.append(header)
    key = tuple(telling)
    framing = _FRAMINGS.get(key) or _framing(key)
    if framing is None:
        return None
    if (odd := _oddity(block)) and not framing.anomaly:
        framing = msgspec.structs.replace(framing, anomaly=odd)
    return Fields(tuple(headers), framing, size)


def _oddity(block: bytes) -> str:
    """What some take for one field and some for another, or for none (RFC 9112 §2.2, §5.1)."""
    if (b" :" in block or b"\t:" in block) and _SPACED.search(block):
        return "whitespace before a colon"
    if block[:1] in (b" ", b"\t"):
        return "whitespace before the first field"
    return "bare CR" if b"\r" in block.replace(b"\r\n", b"\n") else ""


def _lines(block: bytes) -> list[bytes]:
    lines = block.replace(b"\r\n", b"\n").strip(b"\n").split(b"\n")
    if b"\n " not in block and b"\n\t" not in block:
        return lines if lines[0] else []
    unfolded: list[bytes] = []
    for line in lines:  # RFC 9112 §5.2, obsolete folding
        if line[:1] in (b" ", b"\t") and unfolded:
            unfolded[-1] = b" ".join((unfolded[-1].rstrip(b" \t"), line.strip(b" \t")))
        else:
            unfolded.append(line)
    return unfolded


def _header(line: bytes) -> tuple[tuple[str, str], int] | None:
    name, colon, value = line.partition(b":")
    if not name or not colon or not _TOKEN.issuperset(name):
        name = name.strip(b" \t")
        if not colon or not name or not _TOKEN.issuperset(name):
            return None
    found = (name.decode("ascii").lower(), text(value.strip(b" \t\r"))), 2 * len(line) + 12
    if len(line) <= _MAX_LINE:
        if len(_LINES) >= _MAX_REMEMBERED:
            _LINES.clear()
        _LINES[line] = found
    return found


def _framing(headers: tuple[tuple[str, str], ...]) -> Framing | None:
    telling: dict[str, list[str]] = {}
    for name, value in headers:
        telling.setdefault(name, []).append(value)
    stated = telling.get("content-length", ())
    lengths = {part.strip(" \t") for value in stated for part in value.split(",")}
    if len(lengths) > 1 or not all(_is_length(value) for value in lengths):
        return None
    codings = ",".join(telling.get("transfer-encoding", ())).lower()
    found = Framing(
        length=int(lengths.pop()) if lengths else None,
        coded=bool(codings),
        chunked=codings.rpartition(",")[2].strip(" \t") == "chunked",
        host=telling.get("host", (None,))[0],
        upgrade=telling.get("upgrade", ("",))[0].lower() or None,
        expects=telling.get("expect", ("",))[0].lower() == "100-continue",
        media=telling.get("content-type", (None,))[0],
        anomaly=_anomaly(telling),
    )
    if sum(len(value) for _, value in headers) <= _MAX_LINE:
        if len(_FRAMINGS) >= _MAX_REMEMBERED:
            _FRAMINGS.clear()
        _FRAMINGS[headers] = found
    return found


def _anomaly(telling: dict[str, list[str]]) -> str:
    """What implementations read in different ways (RFC 9112 §6.3, §3.2), so that one can be led to
    take a message's end for another's than the next one does."""
    stated = telling.get("content-length", ())
    if stated and "transfer-encoding" in telling:
        return "content-length and transfer-encoding"
    if len(stated) > 1 or (stated and "," in stated[0]):
        return "repeated content-length"
    coded = telling.get("transfer-encoding", ())
    if len(coded) > 1 or (coded and coded[0].lower().count("chunked") > 1):
        return "repeated transfer-encoding"
    return "repeated host" if len(telling.get("host", ())) > 1 else ""


def _is_length(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS


def text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
