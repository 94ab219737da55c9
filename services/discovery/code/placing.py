"""Where in one function a probe can sit, with the proof: entries and exits.

An entry place is on the straight line from the first byte, before any branch, with the argument
registers unwritten, and nothing jumps to it. An exit place is passed on every path to every RET,
exactly once, and neither the result register nor memory is written after it. Each refusal names its
reason; nothing is assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from iced_x86 import FlowControl, Instruction, Mnemonic, OpKind, Register
from msgspec import Struct

from services.discovery.code.abstraction import immediate, signed
from services.discovery.code.disassembly import (
    ARGUMENTS,
    Body,
    Leave,
    Listing,
    sweep,
    writes_memory,
    written,
)

MAX_CANDIDATES = 16


class Place(Struct, frozen=True):
    """An address in a function. `frame`: how far the stack pointer is below its value at entry."""

    address: int
    frame: int
    emulated: bool
    reason: str = ""  # why it isn't emulated


Around = Callable[[int], Body | None]  # the code that lies around an address, as far as it is known


def entry(listing: Listing, arguments: int, around: Around) -> Place:
    """The cheapest place that sees the first `arguments` argument registers as they were passed."""
    start = listing.body.address
    landings, reason = set(_landings(listing)), "its instructions can't be read"
    for i, frame in _straight(listing, arguments):
        distance = f"+{i.ip - start:#x}"
        if i.ip in landings:
            reason = f"a jump lands at {distance}"
            break
        if listing.emulated(i):
            back = i.ip != start and _jumps_back(listing, (start, i.ip), around)
            if not back:
                return Place(i.ip, frame, emulated=True)
            reason = back
            break
        reason = f"nothing emulated up to {distance}, where the straight line ends"
    return Place(start, 0, emulated=False, reason=reason)


def _straight(listing: Listing, arguments: int) -> Iterator[tuple[Instruction, int]]:
    """Instructions that run before any branch, each with its frame, arguments still in place."""
    guarded, frame = set(ARGUMENTS[:arguments]), 0
    i = listing.instructions.get(listing.body.address)
    while i is not None:
        yield i, frame
        moved = _stack_change(i)
        if i.flow_control != FlowControl.NEXT or moved is None or written(i) & guarded:
            return
        frame -= moved
        i = listing.instructions.get(i.next_ip)


def _landings(listing: Listing) -> Iterator[int]:
    branches = (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH)
    for i in listing.instructions.values():
        if i.flow_control in branches:
            yield i.near_branch_target


def _jumps_back(listing: Listing, span: tuple[int, int], around: Around) -> str:
    """Whether code that the function jumps out to, a cold part of it, lands in `span` again."""
    for step in listing.steps.values():
        for target in step.outside:
            part = around(target)
            if part is None:
                return f"it jumps to unknown code at {target:#x}"
            if any(span[0] <= landing <= span[1] for landing in _landings(sweep(part))):
                return "a jump from another part of it lands before the place"
    return ""


def emulated_exit(listing: Listing) -> Place | str:
    """The place that sees the result of every call, or why there is none."""
    start = listing.body.address
    if start not in listing.steps:
        return "its instructions can't be read"
    live = listing.reachable(start)
    if refusal := _other_ways(listing, live):
        return refusal
    returns = {ip for ip in live if listing.steps[ip].leaves}
    frames = _frames(listing, live)
    for ip in _final(listing, live, returns)[:MAX_CANDIDATES]:
        frame = frames[ip]
        if frame is not None and _always_passed(listing, ip, returns):
            return Place(ip, frame, emulated=True)
    return "no emulated instruction has the result and lies on every path to a RET"


def returns(listing: Listing) -> tuple[int, ...] | str:
    """The addresses of all RETs, or why these are not all ways out, each as it was entered."""
    start = listing.body.address
    if start not in listing.steps:
        return "its instructions can't be read"
    live = listing.reachable(start)
    if refusal := _other_ways(listing, live):
        return refusal
    found = tuple(sorted(ip for ip in live if listing.steps[ip].leaves))
    frames = _frames(listing, live)
    if any(frames[ip] not in (0, None) for ip in found):
        return "its stack pointer can't be followed"
    return found


def _other_ways(listing: Listing, live: set[int]) -> str:
    ways_out = {way for ip in live for way in listing.steps[ip].leaves}
    if ways_out == {Leave.RETURN}:
        return ""
    others = sorted(way.value for way in ways_out - {Leave.RETURN})
    return f"it leaves by {others[0]}" if others else "it never returns"


def _final(listing: Listing, live: set[int], returns: set[int]) -> list[int]:
    """Emulated instructions that lead to a RET, with nothing changed any more on the way there.

    What leads to no RET doesn't count: the stack protector's failure."""
    before: dict[int, list[int]] = {}
    for ip in live:
        for following in listing.steps[ip].inside:
            before.setdefault(following, []).append(ip)
    returning = _closure(returns, before)
    changing = {ip for ip in returning if _changes(listing.instructions[ip])}
    early = _closure({b for ip in changing for b in before.get(ip, ())}, before)
    final = sorted(returning - early - returns - changing)
    return [ip for ip in final if listing.emulated(listing.instructions[ip])]


def _closure(start: set[int], links: dict[int, list[int]]) -> set[int]:
    seen, todo = set(start), list(start)
    while todo:
        new = set(links.get(todo.pop(), ())) - seen
        seen |= new
        todo += new
    return seen


def _changes(i: Instruction) -> bool:
    return Register.RAX in written(i) or writes_memory(i)


def _always_passed(listing: Listing, ip: int, returns: set[int]) -> bool:
    around_it = listing.reachable(listing.body.address, avoiding=ip) & returns
    return not around_it and ip not in listing.after(ip)


def _frames(listing: Listing, live: set[int]) -> dict[int, int | None]:
    """By instruction: bytes on the stack below the return address; None where paths disagree."""
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


def _stack_change(i: Instruction) -> int | None:
    """What it adds to the stack pointer, or None where that is not a constant."""
    if Register.RSP not in written(i):
        return 0
    if i.flow_control in (FlowControl.CALL, FlowControl.INDIRECT_CALL):
        return 0  # once it has returned
    if i.mnemonic in (Mnemonic.PUSH, Mnemonic.POP):
        return i.stack_pointer_increment
    if i.op_count != 2 or i.op0_kind != OpKind.REGISTER or i.op0_register != Register.RSP:
        return None
    if i.mnemonic in (Mnemonic.ADD, Mnemonic.SUB) and immediate(i):
        return signed(i.immediate(1)) * (1 if i.mnemonic == Mnemonic.ADD else -1)
    if i.mnemonic == Mnemonic.LEA and i.memory_base == Register.RSP:
        plain = i.memory_index == Register.NONE
        return signed(i.memory_displacement) if plain else None
    return None
