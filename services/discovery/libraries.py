"""Which files are TLS libraries, by name, and what a user calls the library in them.

Knows names and version texts only; what is in a file decides whether it can be probed.
"""

from __future__ import annotations

import re

# libssl.so, libssl.so.3, libssl.so.3.0.7, a wheel's libssl-3e69114b.so.1.1; never .libssl.so.3.hmac
_LIBSSL = re.compile(r"libssl(?:-[0-9a-f]+)?\.so((?:\.\d+)*)")
_LIBCRYPTO = re.compile(r"libcrypto(?:-[0-9a-f]+)?\.so(?:\.\d+)*")
_VERSION = re.compile(rb"OpenSSL (\d{1,3}\.\d{1,3}\.\d{1,3}[a-z]{0,2}(?:-[0-9A-Za-z.]{1,16})?) +")
HINT = b"libssl"  # whatever `is_libssl` accepts contains it


def is_libssl(path: str) -> bool:
    return _LIBSSL.fullmatch(path.rpartition("/")[2]) is not None


def libcrypto(needed: tuple[str, ...]) -> str:
    """Of the libraries that a libssl needs, the one that holds its version text, or empty."""
    return next((name for name in needed if _LIBCRYPTO.fullmatch(name)), "")


def version(read_only_data: bytes) -> str:
    found = _VERSION.search(read_only_data)
    return found[1].decode() if found else ""


def library(version_text: str, soname: str) -> str:
    """`openssl 3.0.19`; without a version text what the library's own name still tells."""
    by_name = _LIBSSL.fullmatch(soname)
    number = version_text or (by_name[1].lstrip(".") if by_name else "")
    return f"openssl {number}".rstrip()
