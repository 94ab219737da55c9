"""A function's instructions and where control goes from each: the one door to iced-x86.

x86-64 only. Knows which instructions the kernel emulates at a uprobe (arch/x86/kernel/uprobes.c:
push_setup_xol_ops, branch_setup_xol_ops) rather than single-steps; nothing about TLS or costs.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache, reduce

from iced_x86 import (
    Decoder,
    FlowControl,
    Instruction,
    InstructionInfoFactory,
    OpAccess,
    Register,
    Register_,
    RegisterExt,
    UsedMemory,
)
from msgspec import Struct

_WRITES = (OpAccess.WRITE, OpAccess.READ_WRITE, OpAccess.COND_WRITE, OpAccess.READ_COND_WRITE)
_info = InstructionInfoFactory()

MAX_INSTRUCTIONS = 16_384

ARGUMENTS = (Register.RDI, Register.RSI, Register.RDX, Register.RCX, Register.R8)
CALLER_SAVED = frozenset(
    {
        *ARGUMENTS,
        Register.RAX,
        Register.R9,
        Register.R10,
        Register.R11,
    }
)


class Body(Struct, frozen=True):
    """A function's bytes at the address that the file gives them. `parts` are other pieces of code
    that its jumps lead to, `switches` where its indirect jumps lead, as far as that is proven."""

    name: str
    address: int
    code: bytes
    parts: tuple[Body, ...] = ()
    switches: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @property
    def end(self) -> int:
        return self.address + len(self.code)


class Leave(Enum):
    """How control leaves a function where it doesn't go on to another of its instructions."""

    RETURN = "ret"
    JUMP = "a jump to another function"
    INDIRECT = "an indirect jump"
    END = "running past its end"
    BOUNDARY = "a jump into the middle of an instruction"


class Step(Struct, frozen=True):
    """Where control can go after one instruction: addresses in the function, and ways out."""

    inside: tuple[int, ...] = ()
    leaves: tuple[Leave, ...] = ()
    outside: tuple[int, ...] = ()  # targets of direct jumps out of the function


class Listing:
    """A linear sweep from a function's first byte to its last, and the graph that it makes."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self._pieces = (body, *body.parts)
        self._switches = dict(body.switches)
        self.instructions: dict[int, Instruction] = {}
        for piece in self._pieces:
            self._decode(piece)
        self.steps = {ip: self._step(i) for ip, i in self.instructions.items()}

    def _decode(self, piece: Body) -> None:
        for instruction in Decoder(64, piece.code, ip=piece.address):
            if instruction.is_invalid or len(self.instructions) >= MAX_INSTRUCTIONS:
                break
            self.instructions[instruction.ip] = instruction

    def reachable(self, start: int, avoiding: int = -1) -> set[int]:
        seen: set[int] = set()
        todo = [start] if start != avoiding else []
        while todo:
            ip = todo.pop()
            if ip not in seen:
                seen.add(ip)
                todo += [t for t in self.steps[ip].inside if t != avoiding]
        return seen

    def after(self, ip: int) -> set[int]:
        """What can run after this instruction, itself included only if a loop leads back."""
        return set().union(*(self.reachable(t) for t in self.steps[ip].inside))

    def bytes_of(self, instruction: Instruction) -> bytes:
        piece = next(p for p in self._pieces if p.address <= instruction.ip < p.end)
        at = instruction.ip - piece.address
        return piece.code[at : at + instruction.len]

    def emulated(self, instruction: Instruction) -> bool:
        return is_emulated(self.bytes_of(instruction))

    def _step(self, i: Instruction) -> Step:
        match i.flow_control:
            case FlowControl.RETURN:
                return Step(leaves=(Leave.RETURN,))
            case FlowControl.UNCONDITIONAL_BRANCH:
                return self._to(i.near_branch_target)
            case FlowControl.CONDITIONAL_BRANCH | FlowControl.XBEGIN_XABORT_XEND:
                return _both(self._to(i.near_branch_target), self._next(i))
            case FlowControl.INDIRECT_BRANCH:
                return self._switch(self._switches.get(i.ip, ()))
            case FlowControl.EXCEPTION:
                return Step()
            case FlowControl.CALL | FlowControl.INDIRECT_CALL if self._ends(i):
                return Step()  # the last instruction is a call: it can't return (stack protector)
            case _:
                return self._next(i)

    def _next(self, i: Instruction) -> Step:
        return Step((i.next_ip,)) if i.next_ip in self.instructions else Step(leaves=(Leave.END,))

    def _ends(self, i: Instruction) -> bool:
        """Whether it is the last of its piece."""
        return any(piece.address <= i.ip and i.next_ip == piece.end for piece in self._pieces)

    def _switch(self, targets: tuple[int, ...]) -> Step:
        if not targets:
            return Step(leaves=(Leave.INDIRECT,))
        return reduce(_both, map(self._to, targets))

    def _to(self, target: int) -> Step:
        if target in self.instructions:
            return Step((target,))
        if any(piece.address <= target < piece.end for piece in self._pieces):
            return Step(leaves=(Leave.BOUNDARY,))
        return Step(leaves=(Leave.JUMP,), outside=(target,))


@lru_cache(maxsize=64)
def sweep(body: Body) -> Listing:
    return Listing(body)


def _both(a: Step, b: Step) -> Step:
    return Step(a.inside + b.inside, a.leaves + b.leaves, a.outside + b.outside)


def is_emulated(code: bytes) -> bool:
    """Whether the kernel emulates the instruction of these bytes in place of single-stepping it."""
    match tuple(code):
        case [op] | [0x41, op] if 0x50 <= op <= 0x57:
            return True  # push; with no prefix but REX.B
        case [0x90] | [0xEB, _] | [0xE9 | 0xE8, _, _, _, _]:
            return True  # one-byte nop, jmp, call: longer nops are emulated by newer kernels only
        case [op, _] if 0x70 <= op <= 0x7F:
            return True
        case [0x0F, op, _, _, _, _] if 0x80 <= op <= 0x8F:
            return True
        case _:
            return False


def written(instruction: Instruction) -> set[Register_]:
    """Full 64-bit registers that the instruction may write. A call writes what its ABI lets it."""
    used = _info.info(instruction).used_registers()
    registers = {RegisterExt.full_register(u.register) for u in used if u.access in _WRITES}
    if instruction.flow_control in (FlowControl.CALL, FlowControl.INDIRECT_CALL):
        registers |= CALLER_SAVED
    return registers


def writes_memory(instruction: Instruction) -> bool:
    """Whether it may write memory other than by a push or a call."""
    if instruction.is_stack_instruction:
        return False
    return bool(touched_memory(instruction))


def touched_memory(instruction: Instruction) -> list[UsedMemory]:
    """What it may write; by a push or a call, too."""
    return [u for u in _info.info(instruction).used_memory() if u.access in _WRITES]
