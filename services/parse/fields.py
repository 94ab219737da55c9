"""The head of an HTTP/1 message: its first line, its fields, and what they say of the body.

Reads whole heads only (http1.py finds where one ends). Names come out in lower case: they are
case-insensitive (RFC 9110 §5.1), and HTTP/2 sends them so; values as sent, in UTF-8 where they are,
else Latin-1. Field blocks repeat from message to message, so recent ones are remembered.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from services.messages import Headers

Version = Literal["http/1.0", "http/1.1"]
_VERSIONS: dict[bytes, Version] = {b"HTTP/1.1": "http/1.1", b"HTTP/1.0": "http/1.0"}

_MAX_REMEMBERED = 4096
_MAX_KEY = 4096
_MAX_DIGITS = 18


class Fields(Struct, frozen=True):
    """`length` is that of Content-Length, `coded` says that Transfer-Encoding frames the body, and
    `chunked` that its last coding is chunked; `anomaly` is what is wrong without being fatal."""

    headers: Headers = ()
    length: int | None = None
    coded: bool = False
    chunked: bool = False
    host: str | None = None
    upgrade: str | None = None
    anomaly: str | None = None
    size: int = 0  # an upper bound of the headers' size when encoded


class RequestLine(Struct, frozen=True):
    method: str
    target: str
    version: Version


class StatusLine(Struct, frozen=True):
    status: int
    version: Version


_REMEMBERED: dict[bytes, Fields] = {}
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
    lines: list[bytes] = []
    for line in block.split(b"\n"):
        line = line.removesuffix(b"\r")
        if line[:1] in (b" ", b"\t") and lines:  # RFC 9112 §5.2, obsolete folding
            lines[-1] = b" ".join((lines[-1].rstrip(b" \t"), line.strip(b" \t")))
        elif line:
            lines.append(line)
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.strip(b" \t")
        if not colon or not _TOKEN.issuperset(name) or not name:
            return None
        headers.append((name.decode("ascii").lower(), text(value.strip(b" \t"))))
    return _framing(tuple(headers))


def _framing(headers: tuple[tuple[str, str], ...]) -> Fields | None:
    lengths = {
        part.strip() for value in _values(headers, "content-length") for part in value.split(",")
    }
    if len(lengths) > 1 or not all(_is_length(value) for value in lengths):
        return None
    codings = ",".join(_values(headers, "transfer-encoding")).lower()
    hosts, upgrades = _values(headers, "host"), _values(headers, "upgrade")
    both = bool(codings and lengths)
    return Fields(
        headers=headers,
        length=int(lengths.pop()) if lengths else None,
        coded=bool(codings),
        chunked=codings.rpartition(",")[2].strip() == "chunked",
        host=hosts[0] if hosts else None,
        upgrade=upgrades[0].lower() if upgrades else None,
        anomaly="content-length and transfer-encoding" if both else None,
        size=sum(2 * (len(name) + len(value)) + 12 for name, value in headers),
    )


def _values(headers: tuple[tuple[str, str], ...], name: str) -> list[str]:
    return [value for found, value in headers if found == name]


def _is_length(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS


def text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
