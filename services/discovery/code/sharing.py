"""The code that the calls of a family provably share: a call that all of another's go through, and
the internal function that all hand theirs on to, if there is one.

Two traps inside it serve the whole family, and its first instruction is mostly a `push`, which the
kernel emulates.
"""

from __future__ import annotations

from typing import Protocol

from iced_x86 import FlowControl
from msgspec import Struct

from services.discovery.code import forwarding
from services.discovery.code.abstraction import Unproven
from services.discovery.code.calls import POINTERS, Call, Family
from services.discovery.code.disassembly import Body, sweep
from services.discovery.code.elf import X86_64
from services.discovery.code.forwarding import Pointers
from services.messages import Abi

MAX_CANDIDATES = 16


class Image(Protocol):
    """What is asked of a file."""

    machine: int

    def named(self, function: str) -> Body | None:
        """The function of this name, whole."""

    def begins_at(self, address: int) -> Body | None:
        """The function that begins at this address, if the file says that one does."""

    def around(self, address: int) -> Body | None:
        """The code around this address, from function's begin to end, if the file says."""

    def stubs(self, function: str) -> frozenset[int]:
        """Where this file calls its own function of this name by the linker's table."""

    def data(self, address: int, size: int) -> bytes:
        """What the file has there for good; nothing where it may be written."""

    def pointers(self, places: frozenset[int]) -> dict[int, int]:
        """What lies at these addresses, of what is an address in the file."""

    def offset(self, address: int) -> int: ...


class Member(Struct, frozen=True):
    """A call of a family, as this file has it."""

    call: Call
    body: Body


class Internal(Struct, frozen=True):
    body: Body
    abi: Abi


def members(image: Image, family: Family) -> list[Member]:
    """The family's calls that the file has and that don't provably go through another of them."""
    found = [
        Member(call, body)
        for call in family.calls
        if (body := image.named(call.function)) is not None
    ]
    if image.machine != X86_64:
        return found
    return [member for member in found if not _goes_through(image, member, found)]


def _goes_through(image: Image, member: Member, others: list[Member]) -> bool:
    """SSL_write_ex of OpenSSL 3.3 and later is a jump into SSL_write_ex2, gnutls_record_send one
    into gnutls_record_send2."""
    return any(
        not _refusal([member], image.stubs(other.body.name) | {other.body.address}, other.call.abi)
        for other in others
        if other is not member and (other.call.abi in POINTERS or not other.call.always)
    )


def internal(image: Image, family: Family, found: list[Member]) -> Internal | str:
    """The shared function, or why there is none; an empty reason where none was to be expected."""
    present = {call.function for call in family.calls if image.named(call.function) is not None}
    if image.machine != X86_64 or len(found) < 2:
        return ""
    if any(call.always and call.function not in present for call in family.calls):
        return ""
    strangers = [body for name in family.strangers if (body := image.named(name)) is not None]
    shared = set.intersection(*(_called(member.body) for member in found))
    shared -= set().union(*(_called(body) for body in strangers))
    reason = "the calls share none"
    for target in sorted(shared)[:MAX_CANDIDATES]:
        for abi in POINTERS:
            reason = _refusal(found, frozenset({target}), abi)
            if not reason:
                body = image.begins_at(target)
                return Internal(body, abi) if body else "what they share begins no known function"
    return reason


def _refusal(found: list[Member], targets: frozenset[int], abi: Abi) -> str:
    for member in found:
        pointers = Pointers(POINTERS.get(member.call.abi), POINTERS.get(abi))
        try:
            forwarding.prove(member.body, targets, pointers)
        except Unproven as reason:
            return f"{member.body.name}: {reason}"
    return ""


def _called(body: Body) -> set[int]:
    listing = sweep(body)
    calls = {
        i.near_branch_target
        for i in listing.instructions.values()
        if i.flow_control == FlowControl.CALL
    }
    return calls | {target for step in listing.steps.values() for target in step.outside}
