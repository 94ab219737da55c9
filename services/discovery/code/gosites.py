"""Where probes sit in the functions of Go's crypto/tls, with the proof.

Go checks the stack in a function's first instructions and, where it is too small, moves it and
begins anew: a probe on the first byte would see one call twice. An entry is therefore the `push`
behind the check, or its jump, which the kernel emulates both. Results are seen at the RETs and
nowhere else: a uretprobe kills a Go program, whose stacks are moved and unwound.
"""

from __future__ import annotations

from typing import Final

from iced_x86 import FlowControl, Instruction, Mnemonic, OpKind, Register
from msgspec import Struct

from services.discovery.code import arm64
from services.discovery.code.disassembly import Body, Listing, sweep, written
from services.discovery.code.elf import X86_64, Elf
from services.discovery.code.gospills import keeps_arguments
from services.messages import Operation, Site

Omitted = tuple[str, str]


class Part(Struct, frozen=True):
    """A method of Conn, and what it is to capture: `transfers` bytes, whose count it returns."""

    name: str
    operation: Operation
    transfers: bool = False


PARTS: Final = (
    Part("Read", "read", transfers=True),
    Part("Write", "write", transfers=True),
    Part("Close", "free"),
    Part("serverHandshake", "new"),
    Part("clientHandshake-fm", "clear"),
)
BIRTHS: Final = frozenset({"serverHandshake", "clientHandshake-fm"})


class Function(Struct, frozen=True):
    part: Part
    body: Body


class Entry(Struct, frozen=True):
    address: int
    reason: str = ""  # why it is not the cheapest


_ARGUMENTS = frozenset(
    {Register.RAX, Register.RBX, Register.RCX, Register.RDX, Register.R14, Register.RSP}
)
_GUARD = 0x10  # g.stackguard0
_LONGEST_CHECK = 10  # instructions
_RET = b"\xc3"
_WORD = 8
_LOAD_RECEIVER = 0xF9400740  # ldr x?, [x26, #8]
_LOAD_GUARD = 0xF9400B90  # ldr x16, [x28, #16]
_NO_RETURN_PROBE = "no uretprobe: it kills Go programs, whose stacks move"
_NO_CHECK = "no stack check at its beginning"


def refusal(machine: int, functions: list[Function]) -> str:
    """Why these bytes are not the functions that the table says, or nothing."""
    for function in functions:
        if _entry(machine, function.body) is None:
            return f"{function.part.name}: {_NO_CHECK}"
        if function.part.operation == "clear" and not _loads_receiver(machine, function.body):
            return f"{function.part.name}: its receiver is not in its closure"
    return ""


def _loads_receiver(machine: int, body: Body) -> bool:
    """That a method value finds its receiver where the program reads it: [rdx+8], [x26, #8]."""
    if machine != X86_64:
        words = (
            int.from_bytes(body.code[n : n + 4], "little") for n in range(0, len(body.code), 4)
        )
        return any(word & ~0x1F == _LOAD_RECEIVER for word in words)
    for i in sweep(body).instructions.values():
        if i.mnemonic == Mnemonic.MOV and i.memory_base == Register.RDX:
            return i.op_kind(1) == OpKind.MEMORY and i.memory_displacement == _WORD
        if Register.RDX in written(i):
            return False
    return False


def choose(file: Elf, functions: list[Function]) -> tuple[list[Site], list[Omitted]]:
    """Both sites of a transfer or none of it."""
    sites: list[Site] = []
    omitted: list[Omitted] = []
    for function in functions:
        found = _exits(file, function) if function.part.transfers else []
        if isinstance(found, str):
            omitted.append((function.body.name, found))
            continue
        sites += [_enter(file, function), *found]
    if not any(site.operation in ("read", "write") for site in sites):
        return [], omitted
    return sites, omitted


def _enter(file: Elf, function: Function) -> Site:
    entry = _entry(file.machine, function.body)
    assert entry is not None  # refusal() has said so
    return _site(file, function, entry.address, "enter", entry.reason)


def _exits(file: Elf, function: Function) -> list[Site] | str:
    if file.machine == X86_64:
        found = _returns(function.body)
        reason = f"a Go function's result is final at its RETs only; {_NO_RETURN_PROBE}"
    else:
        found = arm64.returns(function.body)
        reason = ""
    if isinstance(found, str):
        return found
    return [_site(file, function, address, "exit", reason) for address in found]


def _site(file: Elf, function: Function, address: int, event: str, reason: str) -> Site:
    offset = file.file_offset(address)
    return Site(
        operation=function.part.operation,
        event="exit" if event == "exit" else "enter",
        abi="go",
        function=function.body.name,
        kind="uprobe",
        address=address,
        offset=offset if offset is not None else 0,
        cost="single_step" if reason else "emulated",
        fallback=reason,
        keeps_arguments=file.machine == X86_64 and event == "exit" and _keeps(function),
    )


def _keeps(function: Function) -> bool:
    return function.part.operation == "read" and keeps_arguments(function.body)


def _returns(body: Body) -> tuple[int, ...] | str:
    """Go's linker puts no data into functions, so that a sweep meets every instruction."""
    listing = sweep(body)
    if sum(i.len for i in listing.instructions.values()) != len(body.code):
        return "its instructions can't be read"
    found = [i for i in listing.instructions.values() if i.flow_control == FlowControl.RETURN]
    if not found:
        return "it never returns"
    if any(listing.bytes_of(i) != _RET for i in found):
        return "it returns otherwise than by a plain RET"
    return tuple(i.ip for i in found)


def _entry(machine: int, body: Body) -> Entry | None:
    return _entry_x86(body) if machine == X86_64 else _entry_arm64(body)


def _entry_x86(body: Body) -> Entry | None:
    """Behind the check nothing is written yet but its own scratch registers."""
    listing = sweep(body)
    i, guarded = listing.instructions.get(body.address), False
    for _ in range(_LONGEST_CHECK):
        if i is None or written(i) & _ARGUMENTS:
            return None
        if i.flow_control == FlowControl.CONDITIONAL_BRANCH and guarded:
            return _behind(listing, i)
        if i.flow_control not in (FlowControl.NEXT, FlowControl.CONDITIONAL_BRANCH):
            return None
        guarded = guarded or _compares_with_guard(i)
        i = listing.instructions.get(i.next_ip)
    return None


def _behind(listing: Listing, jump: Instruction) -> Entry:
    following = listing.instructions.get(jump.next_ip)
    landings = {
        i.near_branch_target
        for i in listing.instructions.values()
        if i.flow_control in (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH)
    }
    pushes = following is not None and following.mnemonic == Mnemonic.PUSH
    if following is not None and pushes and following.ip not in landings:
        return Entry(following.ip)
    if listing.emulated(jump):
        return Entry(jump.ip)
    return Entry(listing.body.address, "its stack check can't be emulated")


def _compares_with_guard(i: Instruction) -> bool:
    """cmp rsp, [r14+0x10], or a register that was computed from rsp."""
    return (
        i.op_count == 2
        and i.op_kind(1) == OpKind.MEMORY
        and i.memory_base == Register.R14
        and i.memory_displacement == _GUARD
        and i.op_kind(0) == OpKind.REGISTER
    )


def _entry_arm64(body: Body) -> Entry | None:
    """The check's own jump: the kernel simulates conditional ones."""
    code = body.code[: 4 * _LONGEST_CHECK]
    words = [int.from_bytes(code[n : n + 4], "little") for n in range(0, len(code) - 3, 4)]
    if _LOAD_GUARD not in words[:1]:
        return None
    for number, word in enumerate(words):
        if word & 0xFF00001F == 0x54000009:  # b.ls
            return Entry(body.address + 4 * number)
    return None
