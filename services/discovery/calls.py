"""The calls of OpenSSL's interface that are probed: what each does and where its length is.

A family is the calls that do the same; they are probed together where they provably share code.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from services.messages import Operation

Abi = Literal["returns_length", "length_pointer", "object"]

ARGUMENTS: Final[dict[Abi, int]] = {"returns_length": 3, "length_pointer": 4, "object": 1}


class Call(Struct, frozen=True):
    function: str
    abi: Abi


class Family(Struct, frozen=True):
    operation: Operation
    calls: tuple[Call, ...]
    strangers: tuple[str, ...]  # calls that are something else: code shared with them is no proof


class ObjectCall(Struct, frozen=True):
    """Of interest for its TLS object: `enter` has it as first argument, `exit` as result."""

    operation: Operation
    event: Literal["enter", "exit"]
    function: str


READS = Family(
    "read",
    (Call("SSL_read", "returns_length"), Call("SSL_read_ex", "length_pointer")),
    ("SSL_peek", "SSL_peek_ex", "SSL_write", "SSL_write_ex"),
)
WRITES = Family(
    "write",
    (Call("SSL_write", "returns_length"), Call("SSL_write_ex", "length_pointer")),
    ("SSL_peek", "SSL_peek_ex", "SSL_read", "SSL_read_ex"),
)
OBJECTS = (
    ObjectCall("new", "exit", "SSL_new"),
    ObjectCall("clear", "enter", "SSL_clear"),
    ObjectCall("free", "enter", "SSL_free"),
)
NEEDED = ("SSL_read", "SSL_write")
NAMES = frozenset(
    {call.function for family in (READS, WRITES) for call in family.calls}
    | {name for family in (READS, WRITES) for name in family.strangers}
    | {call.function for call in OBJECTS}
)
