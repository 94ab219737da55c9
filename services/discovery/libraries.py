"""Which files are TLS libraries, by name, and what a user calls the library in them.

Knows names and version texts only; what is in a file decides whether it can be probed.
"""

from __future__ import annotations

import re
from typing import Final

from services.messages import TlsFamily

# libssl.so, libssl.so.3, libssl.so.3.0.7, a wheel's libssl-3e69114b.so.1.1; never .libssl.so.3.hmac
_LIBSSL = re.compile(r"libssl(?:-[0-9a-f]+)?\.so((?:\.\d+)*)")
_LIBGNUTLS = re.compile(r"libgnutls(?:-[0-9a-f]+)?\.so((?:\.\d+)*)")
_LIBCRYPTO = re.compile(r"libcrypto(?:-[0-9a-f]+)?\.so(?:\.\d+)*")
_OPENSSL = re.compile(rb"OpenSSL (\d{1,3}\.\d{1,3}\.\d{1,3}[a-z]{0,2}(?:-[0-9A-Za-z.]{1,16})?) +")
_GNUTLS = re.compile(rb"GnuTLS (\d{1,3}\.\d{1,3}\.\d{1,3}) ")
# OpenSSL's interface by others, who say so where OpenSSL has its version.
_COMPATIBLE = re.compile(rb"\(compatible; (BoringSSL|AWS-LC(?: \d{1,3}\.\d{1,3}\.\d{1,3})?)")
_BORINGSSL = re.compile(rb"/ssl/ssl_lib\.cc\0")  # OpenSSL's is C
HINTS: Final = (b"libssl", b"libgnutls")  # whatever `is_tls_library` accepts contains one of them
CRYPTO_HINT: Final = b"libcrypto"


def is_tls_library(path: str) -> bool:
    name = path.rpartition("/")[2]
    return any(known.fullmatch(name) for known in (_LIBSSL, _LIBGNUTLS))


def is_libcrypto(path: str) -> bool:
    return _LIBCRYPTO.fullmatch(path.rpartition("/")[2]) is not None


def libcrypto(needed: tuple[str, ...]) -> str:
    """Of the libraries that a libssl needs, the one that holds its version text, or empty."""
    return next((name for name in needed if _LIBCRYPTO.fullmatch(name)), "")


def version(read_only_data: bytes, family: TlsFamily) -> str:
    """`openssl 3.0.19`, `gnutls 3.7.9`, `boringssl`; empty where the data doesn't say."""
    if family == "gnutls":
        found = _GNUTLS.search(read_only_data)
    elif other := _COMPATIBLE.search(read_only_data):
        return other[1].decode().lower()
    else:
        found = _OPENSSL.search(read_only_data)
        if found is None and _BORINGSSL.search(read_only_data):
            return "boringssl"
    return f"{family} {found[1].decode()}" if found else ""


def by_name(soname: str, family: TlsFamily) -> str:
    """What a library's own name still tells where no version text is found."""
    found = (_LIBGNUTLS if family == "gnutls" else _LIBSSL).fullmatch(soname)
    number = found[1].lstrip(".") if found and family == "openssl" else ""
    return f"{family} {number}".rstrip()
