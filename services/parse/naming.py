"""Which protocol that is none of ours a connection speaks, from its first bytes, if that is proven.

So that a database's bytes are counted under its name. Knows beginnings only; what follows one is
never read.
"""

from __future__ import annotations

import re
from enum import Enum

_ANY, _ZERO = frozenset(range(256)), frozenset({0})
_DIGITS = frozenset(b"0123456789")
_Pattern = tuple[frozenset[int], ...]
_GREETING = re.compile(rb"220[ -][^\n]{0,510}\n")
_MAX_GREETING = 512


class Naming(Enum):
    MORE = "more"
    UNKNOWN = "unknown"


def _text(literal: bytes) -> _Pattern:
    return tuple(frozenset({byte}) for byte in literal)


def _bits(mask: int) -> frozenset[int]:
    return frozenset(byte for byte in range(256) if byte & mask == mask)


def _of(*bytes_: int) -> frozenset[int]:
    return frozenset(bytes_)


_CRLF = frozenset(b"\r\n")
_PATTERNS: tuple[tuple[str, _Pattern], ...] = (
    # a handshake record with a ClientHello
    ("tls", (_of(0x16), _of(3), _of(0, 1, 2, 3, 4), _ANY, _ANY, _of(1))),
    # StartupMessage: its length, then protocol 3.0, then a parameter's name
    ("postgres", (_ZERO, _ZERO, _ANY, _ANY, *_text(b"\0\3\0\0"), frozenset(range(0x61, 0x7B)))),
    # HandshakeResponse41 after SSLRequest: length, sequence 2, capabilities with PROTOCOL_41 and
    # SSL, largest packet, charset, filler
    ("mysql", (_ANY, _ANY, _of(0), _of(1, 2, 3), _ANY, _bits(0x0A), *(_ANY,) * 7, *(_ZERO,) * 19)),
    ("redis", (
        *_text(b"*"), _DIGITS, _DIGITS | _CRLF, _DIGITS | _CRLF, _DIGITS | _CRLF | {0x24},
        _DIGITS | _CRLF | {0x24},
    )),
    # length, request, response, then OP_MSG or OP_QUERY
    ("mongodb", (*(_ANY,) * 3, _ZERO, *(_ANY,) * 4, *(_ZERO,) * 4, _of(0xDD, 0xD4), _of(7), _ZERO,
                 _ZERO)),
    ("mqtt", (_of(0x10), _ANY, _ZERO, _of(4), *_text(b"MQTT"))),
    ("amqp", _text(b"AMQP")),
    # a message with its id, then a bind request
    ("ldap", (_of(0x30), _ANY, _of(2), _of(1), _ANY, _of(0x60))),
    ("ssh", _text(b"SSH-")),
    ("nats", _text(b"INFO {")),
    ("nats", _text(b"CONNECT {")),
    ("imap", _text(b"* OK ")),
    ("pop3", _text(b"+OK ")),
    ("smtp", _text(b"EHLO ")),
    ("smtp", _text(b"HELO ")),
    ("xmpp", _text(b"<stream:stream")),
)  # fmt: skip


def name(data: bytes) -> str | Naming:
    """Of the first bytes of one direction."""
    possible = False
    for known, pattern in _PATTERNS:
        if all(byte in allowed for byte, allowed in zip(data, pattern, strict=False)):
            if len(data) >= len(pattern):
                return known
            possible = True
    if b"220".startswith(data[:3]):
        return _greeted(data)
    return Naming.MORE if possible else Naming.UNKNOWN


def _greeted(data: bytes) -> str | Naming:
    """A server that speaks first: mail or files."""
    line = _GREETING.match(data)
    if line is None:
        return Naming.UNKNOWN if len(data) >= _MAX_GREETING or b"\n" in data else Naming.MORE
    if b"SMTP" in line[0]:
        return "smtp"
    return "ftp" if b"FTP" in line[0] else Naming.UNKNOWN
