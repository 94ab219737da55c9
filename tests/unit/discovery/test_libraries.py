"""Names of TLS libraries and what people call them."""

from __future__ import annotations

import pytest

from services.discovery import libraries


@pytest.mark.parametrize(
    "path",
    [
        "/usr/lib/x86_64-linux-gnu/libssl.so.3",
        "/lib/libssl.so",
        "/usr/lib64/libssl.so.3.0.7",
        "/app/psycopg2_binary.libs/libssl-3e69114b.so.1.1",
        "libssl.so.1.0.2",
    ],
)
def test_these_are_tls_libraries(path: str) -> None:
    assert libraries.is_libssl(path)


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
        "/usr/lib/libssl.so.3\n",
        "",
    ],
)
def test_these_are_not(path: str) -> None:
    assert not libraries.is_libssl(path)


def test_the_version_is_the_one_in_the_text() -> None:
    assert libraries.version(b"\0OpenSSL 3.0.19 27 Jan 2026\0") == "3.0.19"
    assert libraries.version(b"\0OpenSSL 1.1.1w  11 Sep 2023\0") == "1.1.1w"
    assert libraries.version(b"OpenSSL default\0") == ""


def test_a_library_without_its_text_is_named_by_its_soname() -> None:
    assert libraries.library("3.0.19", "libssl.so.3") == "openssl 3.0.19"
    assert libraries.library("", "libssl.so.1.1") == "openssl 1.1"
    assert libraries.library("", "") == "openssl"


def test_the_text_is_in_the_libcrypto_that_is_needed() -> None:
    needed = ("libz.so.1", "libcrypto-ea28cefb.so.1.1", "libc.so.6")
    assert libraries.libcrypto(needed) == "libcrypto-ea28cefb.so.1.1"
    assert libraries.libcrypto(("libc.so.6", "../libcrypto.so.3")) == ""
