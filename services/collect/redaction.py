"""Takes secrets out of headers, request targets and authorities, by the names that hold them.

Knows where names and values stand in them; which names are secret is `sensitive`'s, what stands in
bodies `redaction_bodies`'. All is idempotent, and every replacement is noted by its rule.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote, unquote_plus

from services.collect import sensitive
from services.messages import Headers

REPLACEMENT = "*REDACTED*"

Found = list[str]  # a rule for each replacement: "header.cookie", "query.token", "body.password"

_URL_HEADERS = frozenset(
    {
        "link", "location", "content-location", "referer", "host", "refresh", "destination",
        "origin", "access-control-allow-origin", "x-original-url", "x-original-uri",
        "x-rewrite-url", "x-forwarded-uri", "x-forwarded-url", "x-forwarded-host",
        "x-forwarded-path", "x-original-path", "x-envoy-original-path", "x-request-uri",
        "x-auth-request-redirect",
    }
)  # fmt: skip
_CACHED_LENGTH = 64  # names are anybody's: the cache stays small
_SUBPROTOCOLS = "sec-websocket-protocol"
_ANNOUNCES = frozenset({"bearer", "authorization", "basic", "access_token"})
# base64url.bearer.authorization.k8s.io.TOKEN, bearer.TOKEN, auth-TOKEN; a JWT
_TOKEN_LIKE = re.compile(
    r"((?:[\w.-]*\b(?:bearer|authorization|auth|token|jwt)\b(?:\.k8s\.io)?[.:~|-]))(?=.)"
    r"|(?:eyJ[\w-]{5,}\.[\w-]+\.[\w-]*)\Z",
    re.IGNORECASE,
)
_NEVER = frozenset({"traceparent", "tracestate"})

# https://user:pass@host, or the authority-form user:pass@host; /@scope/name is a path.
_USERINFO = re.compile(r"((?:[a-z][a-z0-9+.-]*:)?//|(?!/))[^/?#]*@", re.IGNORECASE)
# Also further on: in a query, in `Refresh: 0; url=…`. Elsewhere a path may hold an @.
_URL_USERINFO = re.compile(r"(://)[^/?#\s]*@")
_QUERY_BEGINS = re.compile(r"[?#]")
_PAIR = re.compile(r"(?:^|[?&;#])([^=?&;#]{1,64})=")
_JSON_NAME = re.compile(r'"((?:[^"\\]|\\.)*+)"[\s+]*:[\s+]*(-?[0-9.]+(?=[\s+,}\]]))?')
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_ENCODINGS = 2  # how often a URL is encoded that stands in another's query
_WITHIN = re.compile(r"[;?#]")
_MATRIX = re.compile(r"(;)([^=/;]*)=([^/;]*)")


def _kind(name: str) -> Literal["secret", "url"] | None:
    return _cached_kind(name) if len(name) <= _CACHED_LENGTH else _find_kind(name)


def _find_kind(name: str) -> Literal["secret", "url"] | None:
    lowered = name.strip().lower()
    if lowered in _NEVER:
        return None
    if lowered == _SUBPROTOCOLS:
        return "secret"
    if sensitive.rule(lowered) is not None:
        return "secret"
    return "url" if lowered in _URL_HEADERS else None


_cached_kind = lru_cache(maxsize=4096)(_find_kind)


def headers(pairs: Headers, found: Found) -> Headers:
    for name, _ in pairs:
        if name is None or _kind(name):
            return tuple(_header(name, value, found) for name, value in pairs)
    return pairs


def _header(name: str | None, value: str | None, found: Found) -> tuple[str | None, str | None]:
    """A value under an unknown name may be a token: it is never shown."""
    if value is None:
        return name, None
    if name is None:
        found.append("header.unknown")
        return None, None
    match _kind(name):
        case "secret" if name.strip().lower() == _SUBPROTOCOLS:
            return name, _subprotocols(value, found)
        case "secret":
            if (rule := sensitive.rule(name, value)) is None:
                return name, value
            found.append(f"header.{rule}")
            return name, REPLACEMENT
        case "url":
            return name, target(value, found)
        case None:
            return name, value


def _subprotocols(value: str, found: Found) -> str:
    """Browsers can send no Authorization with a WebSocket, so tokens stand here: behind a name, or
    in one that tells of a bearer. Names of protocols stay."""
    shown, before = [], ""
    for piece in value.split(","):
        bare = piece.strip()
        secret = _TOKEN_LIKE.match(bare)
        if secret is not None or before in _ANNOUNCES or _is_secret_word(before):
            piece = piece.replace(bare, (secret[1] or "" if secret else "") + REPLACEMENT, 1)
            if bare != REPLACEMENT:
                found.append("header.sec-websocket-protocol")
        shown.append(piece)
        before = bare.lower()
    return ",".join(shown)


def _is_secret_word(name: str) -> bool:
    return "." not in name and sensitive.rule(name) is not None


def authority(value: str | None, found: Found) -> str | None:
    if value is None or "@" not in value:
        return value
    found.append("url.userinfo")
    return value.rpartition("@")[2]


def target(value: str | None, found: Found) -> str | None:
    """A request target in any form (RFC 9112 §3.2), or a URL in a header."""
    if value is None:
        return None
    if "@" in value:
        value = _without_userinfo(value, found)
    if "=" not in value:
        return value
    begins = _QUERY_BEGINS.search(value)
    cut = len(value) if begins is None else begins.start()
    path, query = value[:cut], value[cut:]
    if ";" in path:
        path = _MATRIX.sub(lambda match: _matrix(match, found), path)
    return path + query[:1] + pairs(query[1:], "query", found)


def _without_userinfo(value: str, found: Found) -> str:
    if match := _USERINFO.match(value):
        found.append("url.userinfo")
        value = match[1] + value[match.end() :]
    value, count = _URL_USERINFO.subn(r"\1", value)
    found += ["url.userinfo"] * count
    return value


def _matrix(match: re.Match[str], found: Found) -> str:
    rule = sensitive.rule(unquote_plus(match[2]), match[3])
    if rule is None:
        return match[0]
    found.append(f"query.{rule}")
    return f"{match[1]}{match[2]}={REPLACEMENT}"


def pairs(text: str, where: Literal["query", "body"], found: Found) -> str:
    """`name=value&…` of a query or a form; all else stays byte for byte."""
    return "&".join(_pair(piece, where, found) for piece in text.split("&"))


def _pair(piece: str, where: str, found: Found) -> str:
    """Some read `;` as `&`, and values hold unencoded URLs: from a secret name on all goes."""
    start = 0
    while start <= len(piece):
        boundary = _WITHIN.search(piece, start)
        end = len(piece) if boundary is None else boundary.start()
        name, equals, value = piece[start:end].partition("=")
        rule = sensitive.rule(unquote_plus(name), value) if equals else None
        if rule is not None:
            found.append(f"{where}.{rule}")
            return f"{piece[:start]}{name}={REPLACEMENT}"
        start = end + 1
    name, _, value = piece.partition("=")
    if ("%" in value or value[:1] in ("{", "[")) and (hidden := _hidden(value)):
        found.append(f"{where}.{hidden}")
        return f"{name}={REPLACEMENT}"
    return piece


def _hidden(value: str) -> str | None:
    """The rule of a secret in a URL that stands encoded in a value: `next=%2Fx%3Ftoken%3D…`, or in
    JSON."""
    for _ in range(_ENCODINGS):
        value = unquote(value)
        if value.lstrip(" +")[:1] in ("{", "[") and (rule := _in_json(value)):
            return rule
        for pair in _PAIR.finditer(value):
            if rule := sensitive.rule(pair[1]):
                return rule
        if _URL_USERINFO.search(value):
            return "userinfo"
    return None


def _in_json(value: str) -> str | None:
    """The first secret's rule; a name's letters may be escaped."""
    for name in _JSON_NAME.finditer(value):
        text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), name[1])
        if rule := sensitive.rule(text, name[2] or ""):
            return rule
    return None
