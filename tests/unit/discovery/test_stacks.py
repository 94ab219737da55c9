"""TLS code that no probe reads, by names and by bytes."""

from __future__ import annotations

import pytest

from services.discovery.code import stacks
from services.discovery.code.stacks import Marks


def found(*pieces: bytes, path: str = "/opt/app") -> list[tuple[str, str]]:
    marks = Marks()
    for piece in pieces:
        marks.look(piece)
    return [(stack.library, stack.what) for stack in marks.stacks(path)]


@pytest.mark.parametrize(
    ("path", "library"),
    [
        ("/usr/lib/jvm/java-17/lib/server/libjvm.so", "jsse"),
        ("/usr/lib/erlang/erts/bin/beam.smp", "erlang"),
        ("/usr/lib/libnss3.so", "nss"),
        ("/usr/lib/libssl3.so", "nss"),
        ("/usr/lib/libwolfssl.so.35", "wolfssl"),
        ("/usr/lib/libmbedtls.so.14", "mbedtls"),
        ("/usr/lib/libs2n.so.1", "s2n"),
        ("/usr/lib/libgnutls.so.30", "gnutls"),
    ],
)
def test_a_library_is_known_by_its_name(path: str, library: str) -> None:
    known = stacks.by_name(path)
    assert known is not None
    assert (known.library, known.file) == (library, path.rpartition("/")[2])
    assert known.mend


@pytest.mark.parametrize("path", ["/usr/lib/libssl.so.3", "/usr/bin/java", "/lib/libc.so.6"])
def test_other_names_say_nothing(path: str) -> None:
    assert stacks.by_name(path) is None


@pytest.mark.parametrize(
    ("data", "library", "what"),
    [
        (b"/registry/src/x-1/rustls-0.23.46/src/conn.rs", "rustls 0.23.46", "rustls 0.23.46"),
        (b"third_party/boringssl-with-bazel/ssl/a.cc", "boringssl", "BoringSSL without symbols"),
        (b"OpenSSL 1.1.1 (compatible; BoringSSL)", "boringssl", "BoringSSL without symbols"),
        (
            b"../ssl/ssl_lib.c\0OpenSSL 3.0.17 1 Jul 2025",
            "openssl 3.0.17",
            "OpenSSL 3.0.17 without symbols",
        ),
        (b"crypto/tls.(*Conn).Write\0go1.26.1", "go crypto/tls go1.26.1", "go crypto/tls go1.26.1"),
        (b"Mbed TLS 3.6.0", "mbedtls 3.6.0", "Mbed TLS 3.6.0"),
        (b"wolfSSL_write", "wolfssl", "wolfSSL"),
        (b"S2N_ERR_IO", "s2n", "s2n-tls"),
        (b"sun.security.ssl.SSLSocketImpl", "jsse", "Java's own TLS (JSSE)"),
    ],
)
def test_code_is_known_by_what_is_left_in_its_file(data: bytes, library: str, what: str) -> None:
    assert found(b"\0" + data + b"\0") == [(library, what)]


def test_words_that_others_use_are_no_code() -> None:
    assert found(b"OpenSSL 3.0.17 1 Jul 2025\0backends: rustls, BoringSSL, schannel") == []


def test_a_version_may_come_in_a_later_piece() -> None:
    assert found(b"rustls", b"x/rustls-0.23.1/src/") == [("rustls 0.23.1", "rustls 0.23.1")]


def test_grpcio_has_a_mend_of_its_own() -> None:
    marks = Marks()
    marks.look(b"third_party/boringssl-with-bazel/")
    (stack,) = marks.stacks("/x/cygrpc.cpython-311-x86_64-linux-gnu.so")
    assert "GRPC_PYTHON_BUILD_SYSTEM_OPENSSL" in stack.mend
    assert stacks.phrase([stack, stack]) == f"BoringSSL without symbols in {stack.file}"


def test_several_are_told_as_possible() -> None:
    both = [stacks.by_name("/a/libjvm.so"), stacks.by_name("/a/libnss3.so")]
    known = [stack for stack in both if stack is not None]
    assert stacks.phrase(known) == "Java's own TLS (JSSE) in libjvm.so or NSS in libnss3.so"
    assert stacks.library(known) == "jsse or nss"
    assert stacks.mend(known) == stacks.OTHER_END
