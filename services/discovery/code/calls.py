"""The calls of each TLS library that are probed: what each does and where its length is.

An interface is what programs call of one library, a family those of its calls that do the same;
these are probed together where they provably share code. Whatever is to be probed stands here.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from services.messages import Abi, Operation, TlsFamily

# How many arguments have to be seen at the entry, and which of them is the length pointer.
ARGUMENTS: Final[dict[Abi, int]] = {
    "returns_length": 3,
    "length_pointer": 4,
    "length_pointer_fifth": 5,
    "sent_by_kernel": 1,
    "no_buffer": 1,
    "counted_before": 1,
    "object": 1,
    "object_pointer": 1,
    "objects": 3,
}
POINTERS: Final[dict[Abi, int]] = {"length_pointer": 3, "length_pointer_fifth": 4}


class Call(Struct, frozen=True):
    function: str
    abi: Abi
    always: bool = True  # in every version that has the family


class Family(Struct, frozen=True):
    operation: Operation
    calls: tuple[Call, ...]
    strangers: tuple[str, ...]  # calls that are something else: code shared with them is no proof
    alone: tuple[Call, ...] = ()  # rare calls, each probed by itself


class ObjectCall(Struct, frozen=True):
    """Of interest for its TLS object: `enter` has it as first argument, `exit` as result, `both`
    behind the first argument once the call has returned. With `objects` the BIOs behind it are,
    too."""

    operation: Operation
    event: Literal["enter", "exit", "both"]
    function: str
    abi: Abi = "object"


CIPHERTEXT: Final = ObjectCall("cipher", "enter", "BIO_write", "returns_length")


class Interface(Struct, frozen=True):
    """`needed` are the calls without which no program can use the library. `elsewhere` are calls
    that are not probed though they carry data, each with the reason."""

    family: TlsFamily
    transfers: tuple[Family, ...]
    objects: tuple[ObjectCall, ...]
    needed: tuple[str, ...]
    elsewhere: tuple[tuple[str, str], ...] = ()

    def names(self) -> frozenset[str]:
        calls = {c.function for family in self.transfers for c in family.calls + family.alone}
        strangers = {name for family in self.transfers for name in family.strangers}
        objects = {call.function for call in self.objects}
        return frozenset(calls | strangers | objects | {name for name, _ in self.elsewhere})


# --- OpenSSL's libssl, and BoringSSL where it can be seen -----------------------------------------

# Early data goes through the usual call, too: nested, it counts once (bpf/5_calls.c). A peek is no
# read: what it shows is read again.
OPENSSL = Interface(
    family="openssl",
    transfers=(
        Family(
            "read",
            (Call("SSL_read", "returns_length"), Call("SSL_read_ex", "length_pointer")),
            ("SSL_peek", "SSL_peek_ex", "SSL_write", "SSL_write_ex"),
            (Call("SSL_read_early_data", "length_pointer"),),
        ),
        Family(
            "write",
            (
                Call("SSL_write", "returns_length"),
                Call("SSL_write_ex", "length_pointer"),
                Call("SSL_write_ex2", "length_pointer_fifth", always=False),
            ),
            ("SSL_peek", "SSL_peek_ex", "SSL_read", "SSL_read_ex"),
            (
                Call("SSL_write_early_data", "length_pointer"),
                Call("SSL_sendfile", "sent_by_kernel"),
            ),
        ),
    ),
    objects=(
        ObjectCall("new", "exit", "SSL_new"),
        ObjectCall("clear", "enter", "SSL_clear"),
        ObjectCall("share", "enter", "SSL_up_ref"),
        ObjectCall("duplicate", "enter", "SSL_dup"),
        ObjectCall("free", "enter", "SSL_free"),
        # What tells where ciphertext goes; SSL_set_fd and its like go through the first two.
        ObjectCall("bios", "enter", "SSL_set_bio", "objects"),
        ObjectCall("wbio", "enter", "SSL_set0_wbio", "objects"),
        ObjectCall("handshake", "enter", "SSL_do_handshake"),
        CIPHERTEXT,
    ),
    needed=("SSL_read", "SSL_write"),
)

# --- GnuTLS ---------------------------------------------------------------------------------------

# What is sent while the session is corked counts as it is handed over; uncorking sends it by the
# usual call, nested in its own. Early data that a client sends, and pieces of a file, go through
# gnutls_record_send as well.
GNUTLS = Interface(
    family="gnutls",
    transfers=(
        Family(
            "read",
            (Call("gnutls_record_recv", "returns_length"),),
            (),
            (
                Call("gnutls_record_recv_seq", "returns_length"),
                Call("gnutls_record_recv_early_data", "returns_length"),
                Call("gnutls_record_recv_packet", "no_buffer"),
            ),
        ),
        Family(
            "write",
            (
                Call("gnutls_record_send", "returns_length"),
                Call("gnutls_record_send2", "returns_length", always=False),
            ),
            (),
            (
                Call("gnutls_record_send_range", "returns_length"),
                Call("gnutls_record_uncork", "counted_before"),
            ),
        ),
    ),
    objects=(
        ObjectCall("new", "both", "gnutls_init"),
        ObjectCall("free", "enter", "gnutls_deinit"),
    ),
    needed=("gnutls_record_recv", "gnutls_record_send"),
    elsewhere=(
        (
            "gnutls_record_send_file",
            "it sends by gnutls_record_send, which is; only where the kernel encrypts (kTLS, off "
            "by default) its bytes are never in the process's memory",
        ),
        ("gnutls_record_send_early_data", "the handshake sends it by gnutls_record_send, which is"),
    ),
)

# No TLS, but what it is given to send tells whose a socket is.
LIBCRYPTO = Interface(family="openssl", transfers=(), objects=(CIPHERTEXT,), needed=("BIO_write",))

INTERFACES: Final = (OPENSSL, GNUTLS, LIBCRYPTO)
MEMORY = ("BIO_s_mem", "BIO_s_bio")  # what they return says where libcrypto writes into memory
NAMES: Final = frozenset(MEMORY).union(*(interface.names() for interface in INTERFACES))
