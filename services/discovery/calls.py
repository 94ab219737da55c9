"""The calls of OpenSSL's interface that are probed: what each does and where its length is.

A family is the calls that do the same; they are probed together where they provably share code.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from services.messages import Abi, Operation

# How many arguments have to be seen at the entry, and which of them is the length pointer.
ARGUMENTS: Final[dict[Abi, int]] = {
    "returns_length": 3,
    "length_pointer": 4,
    "length_pointer_fifth": 5,
    "sent_by_kernel": 1,
    "object": 1,
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
    """Of interest for its TLS object: `enter` has it as first argument, `exit` as result."""

    operation: Operation
    event: Literal["enter", "exit"]
    function: str


# Early data goes through the usual call, too: nested, it counts once (bpf/5_calls.c). A peek is no
# read: what it shows is read again.
READS = Family(
    "read",
    (Call("SSL_read", "returns_length"), Call("SSL_read_ex", "length_pointer")),
    ("SSL_peek", "SSL_peek_ex", "SSL_write", "SSL_write_ex"),
    (Call("SSL_read_early_data", "length_pointer"),),
)
WRITES = Family(
    "write",
    (
        Call("SSL_write", "returns_length"),
        Call("SSL_write_ex", "length_pointer"),
        Call("SSL_write_ex2", "length_pointer_fifth", always=False),
    ),
    ("SSL_peek", "SSL_peek_ex", "SSL_read", "SSL_read_ex"),
    (Call("SSL_write_early_data", "length_pointer"), Call("SSL_sendfile", "sent_by_kernel")),
)
OBJECTS = (
    ObjectCall("new", "exit", "SSL_new"),
    ObjectCall("clear", "enter", "SSL_clear"),
    ObjectCall("share", "enter", "SSL_up_ref"),
    ObjectCall("free", "enter", "SSL_free"),
)
NEEDED = ("SSL_read", "SSL_write")
NAMES = frozenset(
    {call.function for family in (READS, WRITES) for call in family.calls + family.alone}
    | {name for family in (READS, WRITES) for name in family.strangers}
    | {call.function for call in OBJECTS}
)
