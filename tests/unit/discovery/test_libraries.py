"""Names of TLS libraries and what people call them."""

from __future__ import annotations

import pytest

from services.discovery import libraries
from services.messages import TlsFamily


@pytest.mark.parametrize(
    "path",
    [
        "/usr/lib/x86_64-linux-gnu/libssl.so.3",
        "/lib/libssl.so",
        "/usr/lib64/libssl.so.3.0.7",
        "/app/psycopg2_binary.libs/libssl-3e69114b.so.1.1",
        "libssl.so.1.0.2",
        "/opt/x/lib/libssl.so.3",
        "/usr/lib/x86_64-linux-gnu/libgnutls.so.30",
        "libgnutls-2ea1c7b3.so.30.40.3",
    ],
)
def test_these_are_tls_libraries(path: str) -> None:
    assert libraries.is_tls_library(path)
    assert any(hint in path.encode() for hint in libraries.HINTS)


@pytest.mark.parametrize(
    "path",
    [
        "/lib64/.libssl.so.3.hmac",
        "/lib64/libssl.so.3.hmac",
        "/usr/lib/libcrypto.so.3",
        "/usr/lib/libssl3.so",  # NSS
        "/usr/lib/libssl.so.3/other",
        "/usr/lib/libssl.a",
        "/usr/lib/mylibssl.so.3",
        "/usr/lib/libgnutls-openssl.so.27",
        "/usr/lib/libgnutlsxx.so.30",
        "/usr/lib/libssl.so.3\n",
        "",
    ],
)
def test_these_are_not(path: str) -> None:
    assert not libraries.is_tls_library(path)


@pytest.mark.parametrize(
    ("data", "family", "version"),
    [
        (b"\0OpenSSL 3.0.19 27 Jan 2026\0", "openssl", "openssl 3.0.19"),
        (b"\0OpenSSL 1.1.1w  11 Sep 2023\0", "openssl", "openssl 1.1.1w"),
        (b"OpenSSL default\0", "openssl", ""),
        (b"\0OpenSSL 1.1.1 (compatible; BoringSSL)\0", "openssl", "boringssl"),
        (b"\0/deps/boringssl/ssl/ssl_lib.cc\0", "openssl", "boringssl"),
        (b"\0../deps/openssl/ssl/ssl_lib.c\0", "openssl", ""),
        (b"\0OpenSSL 1.1.1 (compatible; AWS-LC 1.29.0)\0", "openssl", "aws-lc 1.29.0"),
        (b"Enabled GnuTLS 3.7.9 logging...\0", "gnutls", "gnutls 3.7.9"),
        (b"GnuTLS internal error.\0", "gnutls", ""),
    ],
)
def test_the_version_is_the_one_in_the_text(data: bytes, family: TlsFamily, version: str) -> None:
    assert libraries.version(data, family) == version


def test_a_library_without_its_text_is_named_by_its_soname() -> None:
    assert libraries.by_name("libssl.so.1.1", "openssl") == "openssl 1.1"
    assert libraries.by_name("", "openssl") == "openssl"
    assert libraries.by_name("libgnutls.so.30", "gnutls") == "gnutls"  # 30 is no version of GnuTLS


def test_the_text_is_in_the_libcrypto_that_is_needed() -> None:
    needed = ("libz.so.1", "libcrypto-ea28cefb.so.1.1", "libc.so.6")
    assert libraries.libcrypto(needed) == "libcrypto-ea28cefb.so.1.1"
    assert libraries.libcrypto(("libc.so.6", "../libcrypto.so.3")) == ""
