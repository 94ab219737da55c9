"""Where in one function a probe can sit, with the proof: entries, exits and what they cost.

An entry site is on the straight line from the first byte, before any branch, with the argument
registers unwritten, and nothing jumps to it. An exit site is passed on every path to every RET,
exactly once, and neither the result register nor memory is written after it. Each refusal names its
reason; nothing is assumed.
"""

from __future__ import annotations

from iced_x86 import FlowControl, Instruction, Mnemonic, OpKind, Register
from msgspec import Struct

from services.discovery.disassembly import (
    ARGUMENTS,
    Leave,
    Listing,
    writes_memory,
    written,
)


class Place(Struct, frozen=True):
    """An address in a function. `frame`: how far the stack pointer is below its value at entry."""

    address: int
    frame: int
    emulated: bool
    fallback: str = ""  # why it isn't emulated


def entry(listing: Listing, arguments: int) -> Place:
    """The cheapest place that sees the first `arguments` argument registers as they were passed."""
    start = listing.body.address
    jumped_to = _jumped_to(listing)
    guarded, frame, reason = set(ARGUMENTS[:arguments]), 0, "its instructions can't be read"
    ip = start
    while (i := listing.instructions.get(ip)) is not None:
        if ip in jumped_to:
            reason = f"a jump lands at +{ip - start:#x}"
            break
        if listing.emulated(i):
            return Place(ip, frame, emulated=True)
        moved = _stack_change(i)
        reason = f"no emulated instruction before +{ip - start:#x}"
        if i.flow_control != FlowControl.NEXT or moved is None or written(i) & guarded:
            break
        frame, ip = frame - moved, i.next_ip
    return Place(start, 0, emulated=False, fallback=reason)


def emulated_exit(listing: Listing) -> Place | str:
    """The place that sees the result of every call, or why there is none."""
    start = listing.body.address
    if start not in listing.steps:
        return "its instructions can't be read"
    live = listing.reachable(start)
    ways_out = {way for ip in live for way in listing.steps[ip].leaves}
    if ways_out != {Leave.RETURN}:
        others = sorted(way.value for way in ways_out - {Leave.RETURN})
        return f"it leaves by {others[0]}" if others else "it never returns"
    returns = {ip for ip in live if listing.steps[ip].leaves}
    for ip in sorted(live):
        if listing.emulated(listing.instructions[ip]) and _sees_the_end(listing, ip, returns):
            frame = _frames(listing, live).get(ip)
            if frame is not None:
                return Place(ip, frame, emulated=True)
    return "no emulated instruction has the result and lies on every path to a RET"


def _sees_the_end(listing: Listing, ip: int, returns: set[int]) -> bool:
    if listing.reachable(listing.body.address, avoiding=ip) & returns:
        return False
    after = listing.after(ip)
    if ip in after:
        return False
    return not any(
        Register.RAX in written(i) or writes_memory(i)
        for at in after
        if listing.reachable(at) & returns  # what leads to no RET, such as the stack protector
        for i in (listing.instructions[at],)
    )


def _jumped_to(listing: Listing) -> set[int]:
    return {
        i.near_branch_target
        for i in listing.instructions.values()
        if i.flow_control in (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH)
    }


def _stack_change(i: Instruction) -> int | None:
    """What it adds to the stack pointer, or None where that is not a constant."""
    if Register.RSP not in written(i):
        return 0
    if i.is_stack_instruction and i.mnemonic in (Mnemonic.PUSH, Mnemonic.POP):
        return i.stack_pointer_increment
    if i.is_stack_instruction and i.flow_control in (FlowControl.CALL, FlowControl.INDIRECT_CALL):
        return 0  # until it returns
    return _arithmetic(i)


def _arithmetic(i: Instruction) -> int | None:
    if i.op0_kind != OpKind.REGISTER or i.op0_register != Register.RSP:
        return None
    if i.mnemonic in (Mnemonic.ADD, Mnemonic.SUB) and i.op1_kind not in (
        OpKind.REGISTER,
        OpKind.MEMORY,
    ):
        number = _signed(i.immediate(1))
        return number if i.mnemonic == Mnemonic.ADD else -number
    plain = i.memory_base == Register.RSP and i.memory_index == Register.NONE
    return _signed(i.memory_displacement) if i.mnemonic == Mnemonic.LEA and plain else None


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _frames(listing: Listing, live: set[int]) -> dict[int, int | None]:
    """By instruction: bytes on the stack above the return address; None where paths disagree."""
    frames: dict[int, int | None] = {}
    todo: list[tuple[int, int | None]] = [(listing.body.address, 0)]
    while todo:
        ip, frame = todo.pop()
        if ip in frames and frames[ip] in (frame, None):
            continue
        frames[ip] = frame = None if ip in frames else frame
        moved = _stack_change(listing.instructions[ip])
        after = None if frame is None or moved is None else frame - moved
        todo += [(t, after) for t in listing.steps[ip].inside if t in live]
    return frames
