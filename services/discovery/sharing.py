"""The internal function that all calls of a family provably hand theirs on to, if there is one.

Two traps inside it serve the whole family, and its first instruction is mostly a `push`, which the
kernel emulates.
"""

from __future__ import annotations

from typing import Protocol

from iced_x86 import FlowControl
from msgspec import Struct

from services.discovery import forwarding
from services.discovery.abstraction import Unproven
from services.discovery.calls import Family
from services.discovery.disassembly import Body, sweep
from services.discovery.elf import X86_64

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

    def offset(self, address: int) -> int: ...


class Wrapper(Struct, frozen=True):
    body: Body
    pointer_passed: bool


def internal(image: Image, family: Family) -> Body | str:
    """The shared function, or why there is none; an empty reason where none was to be expected."""
    wrappers = [
        Wrapper(body, call.abi == "length_pointer")
        for call in family.calls
        if (body := image.named(call.function)) is not None
    ]
    if image.machine != X86_64 or len(wrappers) < len(family.calls):
        return ""
    strangers = [body for name in family.strangers if (body := image.named(name)) is not None]
    shared = set.intersection(*(_called(wrapper.body) for wrapper in wrappers))
    shared -= set().union(*(_called(body) for body in strangers))
    reason = "the calls share none"
    for target in sorted(shared)[:MAX_CANDIDATES]:
        reason = _refusal(wrappers, target)
        if not reason:
            return image.begins_at(target) or "what they share is not known to begin a function"
    return reason


def _refusal(wrappers: list[Wrapper], target: int) -> str:
    for wrapper in wrappers:
        try:
            forwarding.prove(wrapper.body, target, pointer_passed=wrapper.pointer_passed)
        except Unproven as reason:
            return f"{wrapper.body.name}: {reason}"
    return ""


def _called(body: Body) -> set[int]:
    listing = sweep(body)
    calls = {
        i.near_branch_target
        for i in listing.instructions.values()
        if i.flow_control == FlowControl.CALL
    }
    return calls | {target for step in listing.steps.values() for target in step.outside}
