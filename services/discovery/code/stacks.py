"""TLS code that no probe reads: how it shows in the names and the bytes of mapped files, and what a
user can do about it. Pure.

A finding says that the code is there, which is the reason only where TLS is seen on the wire too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

OTHER_END = "capture the other end of its connections"
_OPENSSL_INSTEAD = "link it with OpenSSL's libssl instead"


class Stack(NamedTuple):
    library: str  # `rustls 0.23.46`
    what: str  # `rustls 0.23.46`, `Java's own TLS (JSSE)`
    mend: str
    file: str = ""


class _Known(NamedTuple):
    library: str
    what: str  # `{}` is where a version goes
    mend: str


_JAVA = _Known("jsse", "Java's own TLS (JSSE)", OTHER_END)
_BORINGSSL = _Known(
    "boringssl", "BoringSSL without symbols", "use a build that keeps its symbols or links libssl"
)
_GRPCIO = "install grpcio with GRPC_PYTHON_BUILD_SYSTEM_OPENSSL=1 and --no-binary grpcio"
_NSS = _Known("nss", "NSS", OTHER_END)
_MBEDTLS = _Known("mbedtls", "Mbed TLS{}", _OPENSSL_INSTEAD)
_WOLFSSL = _Known("wolfssl", "wolfSSL", _OPENSSL_INSTEAD)
_S2N = _Known("s2n", "s2n-tls", _OPENSSL_INSTEAD)
_OPENSSL = _Known(
    "openssl", "OpenSSL{} without symbols", "use a build that keeps its symbols or links libssl"
)
_GO = _Known("go crypto/tls", "go crypto/tls{}", OTHER_END)
_RUSTLS = _Known("rustls", "rustls{}", "build it with native-tls, which links OpenSSL's libssl")

_NAMES = (
    (re.compile(r"libjvm\.so"), _JAVA),
    (re.compile(r"beam(\.smp)?"), _Known("erlang", "Erlang's own TLS", OTHER_END)),
    (re.compile(r"lib(ssl|nss)3\.so.*"), _NSS),
    (re.compile(r"libwolfssl\.so.*"), _WOLFSSL),
    (re.compile(r"libmbedtls\.so.*"), _MBEDTLS),
    (re.compile(r"libs2n\.so.*"), _S2N),
    (re.compile(r"libbotan-.*\.so.*"), _Known("botan", "Botan", _OPENSSL_INSTEAD)),
    (re.compile(r"libgnutls.*\.so.*"), _Known("gnutls", "GnuTLS", OTHER_END)),
)
# What code of a library has in its file although symbols are gone; the group is its version.
_MARKS = (
    (b"rustls", re.compile(rb"rustls-(\d+\.\d+\.\d+)[^/\0]{0,32}/src/"), _RUSTLS),
    (b"third_party/boringssl", None, _BORINGSSL),
    (b"(compatible; BoringSSL)", None, _BORINGSSL),
    (b"ssl/ssl_lib.c\0", re.compile(rb"OpenSSL (\d\.\d\.\d{1,2}[a-z]{0,2}) "), _OPENSSL),
    (b"crypto/tls.(*Conn)", re.compile(rb"\b(go1\.\d{1,3}(?:\.\d{1,3})?)\b"), _GO),
    (b"bed TLS ", re.compile(rb"[Mm]bed TLS (\d+\.\d+\.\d+)"), _MBEDTLS),
    (b"wolfSSL_", None, _WOLFSSL),
    (b"S2N_ERR_", None, _S2N),
    (b"sun.security.ssl.SSL", None, _JAVA),
)
OVERLAP = 256  # bytes that a mark and its version take at most


class Marks:
    """Of one file, in pieces one after the other, each with the end of the one before."""

    def __init__(self) -> None:
        self._found: dict[bytes, str] = {}

    def look(self, piece: bytes) -> None:
        for mark, versions, _ in _MARKS:
            if self._found.get(mark) or (mark not in self._found and mark not in piece):
                continue
            version = versions.search(piece) if versions else None
            self._found[mark] = version[1].decode() if version else ""

    def stacks(self, path: str) -> list[Stack]:
        file, found = path.rpartition("/")[2], dict[_Known, str]()
        for mark, versions, known in _MARKS:
            # `rustls` alone is a word; whoever has the code has paths of it, or its types' names.
            if mark in self._found and (self._found[mark] or known is not _RUSTLS):
                found.setdefault(known, self._found[mark] if versions else "")
        return [_stack(known, version, file) for known, version in found.items()]


def by_name(path: str) -> Stack | None:
    file = path.rpartition("/")[2]
    known = next((known for pattern, known in _NAMES if pattern.fullmatch(file)), None)
    return _stack(known, "", file) if known else None


def is_searched(path: str) -> bool:
    """Not what is known by its name, nor what only serves a libssl that is covered."""
    file = path.rpartition("/")[2]
    return by_name(path) is None and not file.startswith(("libcrypto", "libc.so", "ld-linux"))


def phrase(stacks: Iterable[Stack]) -> str:
    """`BoringSSL without symbols in cygrpc.so`; several joined by `or`."""
    return " or ".join(dict.fromkeys(f"{stack.what} in {stack.file}" for stack in stacks))


def mend(stacks: Iterable[Stack]) -> str:
    return "; or ".join(dict.fromkeys(stack.mend for stack in stacks))


def library(stacks: Iterable[Stack]) -> str:
    return " or ".join(dict.fromkeys(stack.library for stack in stacks))


def _stack(known: _Known, version: str, file: str) -> Stack:
    number = f" {version}" if version else ""
    advice = _GRPCIO if known is _BORINGSSL and file.startswith("cygrpc") else known.mend
    return Stack(known.library + number, known.what.format(number), advice, file)
