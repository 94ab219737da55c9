"""Whether a Go function leaves its arguments above its return address, to be read at its end.

A Read that began before the probes were there is known by these alone. Go's ABI reserves the room
and promises nothing: proven is that the function's first block stores there what it was called
with, and that nothing else in it writes there or takes an address there. x86-64 only: of another
machine nothing is proven.
"""

from __future__ import annotations

from typing import Final

from iced_x86 import FlowControl, Instruction, MemorySizeExt, Mnemonic, OpKind, Register, Register_

from services.discovery.code.disassembly import Body, sweep, touched_memory, written

_WORD: Final = 8
# The receiver, the buffer and its length, above the return address.
_KEPT: Final = {Register.RAX: 8, Register.RBX: 16, Register.RCX: 24}
_LOWEST, _END = 8, 32
_LONGEST_PROLOGUE = 24


def keeps_arguments(body: Body) -> bool:
    """Every path to a RET passes the first block, which ends before anything can jump into it."""
    instructions = list(sweep(body).instructions.values())
    landings = {i.near_branch_target for i in instructions if _jumps(i)}
    found: dict[Register_, int] = {}
    depth, changed = 0, set[Register_]()
    for at, i in enumerate(instructions[:_LONGEST_PROLOGUE]):
        if len(found) == len(_KEPT):
            kept = set(found.values())
            return not any(_disturbs(j, depth) for j in instructions if j.ip not in kept)
        if (at and i.ip in landings) or not (_is_check(i, depth) or _goes_on(i)):
            return False
        grown = _grows(i)
        if grown is None:
            return False
        depth += grown
        argument = _stored(i, depth)
        if argument is not None and argument not in changed:
            found[argument] = i.ip
        changed |= written(i)
    return False


def _jumps(i: Instruction) -> bool:
    return i.flow_control in (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH)


def _is_check(i: Instruction, depth: int) -> bool:
    """The jump of the stack check, before there is a frame: it leads back to the beginning."""
    return i.flow_control == FlowControl.CONDITIONAL_BRANCH and depth == 0


def _goes_on(i: Instruction) -> bool:
    return i.flow_control == FlowControl.NEXT


def _grows(i: Instruction) -> int | None:
    """By how much the frame grows; None: that can't be told."""
    if i.mnemonic == Mnemonic.PUSH:
        return _WORD
    if Register.RSP not in written(i):
        return 0
    by_number = i.op_count == 2 and i.op_kind(1) not in (OpKind.REGISTER, OpKind.MEMORY)
    if not by_number or i.op0_register != Register.RSP:
        return None
    number = i.immediate(1)
    number -= (number >> 63) << 64  # Go's compiler subtracts 128 by adding -128
    grown = {Mnemonic.SUB: number, Mnemonic.ADD: -number}.get(i.mnemonic, -1)
    return grown if grown >= 0 else None


def _stored(i: Instruction, depth: int) -> Register_ | None:
    """The argument that this stores in its own place."""
    if i.mnemonic != Mnemonic.MOV or i.op0_kind != OpKind.MEMORY or i.op1_kind != OpKind.REGISTER:
        return None
    if i.memory_base != Register.RSP or i.memory_index != Register.NONE:
        return None
    place = _KEPT.get(i.op1_register)
    return i.op1_register if place and i.memory_displacement == depth + place else None


def _disturbs(i: Instruction, depth: int) -> bool:
    """Whether it may write to these places, or take an address by which others could. What runs
    before there is a frame, as it makes room on the stack, begins the function anew."""
    if i.mnemonic == Mnemonic.LEA:
        if i.memory_base != Register.RSP:
            return False
        return i.memory_index != Register.NONE or _overlaps(i.memory_displacement, 1, depth)
    for memory in touched_memory(i):
        if memory.base == Register.RBP:
            return True  # the frame's other end, which Go's compiler does not count from
        if memory.base != Register.RSP:
            continue
        size = MemorySizeExt.size(memory.memory_size)
        indexed = memory.index != Register.NONE
        if indexed or _overlaps(memory.displacement, size, depth):
            return True
    return False


def _overlaps(displacement: int, size: int, depth: int) -> bool:
    return displacement < depth + _END and displacement + size > depth + _LOWEST
