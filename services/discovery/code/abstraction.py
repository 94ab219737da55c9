"""What registers and stack slots hold along one path of a function, as far as it is known.

An abstract machine for straight x86-64 code: it follows arguments, constants and stack addresses
through moves, and forgets what it does not understand. Knows nothing of what is to be proven.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from iced_x86 import Instruction, Mnemonic, OpKind, Register, Register_, RegisterExt
from msgspec import Struct

from services.discovery.code.disassembly import CALLER_SAVED, written


class Unproven(Exception):
    """Why a proof does not hold, for a user's eyes."""


class Kind(Enum):
    UNKNOWN = 0
    ARGUMENT = 1  # the function's own, by number
    LOW = 2  # its lower half, extended
    CONSTANT = 3
    STACK = 4  # an address, relative to the stack pointer at the function's first byte
    RESULT = 5  # of the call that is followed
    LENGTH = 6  # what that call left in the slot that it was pointed at


class Value(NamedTuple):
    kind: Kind
    number: int = 0


UNKNOWN = Value(Kind.UNKNOWN)
RESULT = Value(Kind.RESULT)
LENGTH = Value(Kind.LENGTH)
_WORD = 8


class Path(Struct):
    """One way through a function, up to the instruction at `ip`."""

    ip: int
    registers: dict[Register_, Value]
    memory: dict[int, Value]  # 8-byte stack slots, by offset from the first stack pointer

    def fork(self, ip: int) -> Path:
        return Path(ip, dict(self.registers), dict(self.memory))

    def get(self, register: Register_) -> Value:
        return self.registers.get(RegisterExt.full_register(register), UNKNOWN)

    def set(self, register: Register_, value: Value) -> None:
        if register == Register.RSP and value.kind is not Kind.STACK:
            raise Unproven("its stack pointer can't be followed")
        self.registers[RegisterExt.full_register(register)] = value

    def call(self) -> None:
        """Another function runs: it may change what the ABI lets it, and any memory."""
        self.memory.clear()
        for register in CALLER_SAVED:
            self.registers.pop(register, None)

    def run(self, i: Instruction) -> None:
        """Any instruction that only goes on to the next."""
        match i.mnemonic:
            case Mnemonic.CMP | Mnemonic.TEST | Mnemonic.NOP | Mnemonic.ENDBR64:
                return
            case Mnemonic.PUSH | Mnemonic.POP | Mnemonic.LEAVE:
                self._stack(i)
            case Mnemonic.SUB | Mnemonic.ADD if i.op0_register == Register.RSP and immediate(i):
                sign = 1 if i.mnemonic == Mnemonic.ADD else -1
                self._move_stack(sign * signed(i.immediate(1)))
            case Mnemonic.XOR if _cleared(i):
                self.set(i.op0_register, Value(Kind.CONSTANT, 0))
            case Mnemonic.MOV if i.op0_kind == OpKind.MEMORY:
                self._store(i)
            case Mnemonic.MOV if i.op0_kind == OpKind.REGISTER:
                self.set(i.op0_register, self.moved(i))
            case Mnemonic.MOVSXD if i.op1_kind == OpKind.REGISTER:
                self.set(i.op0_register, narrow(self.get(i.op1_register)))
            case Mnemonic.LEA:
                self.set(i.op0_register, self._address(i))
            case _:
                self._forget(i)

    def moved(self, i: Instruction) -> Value:
        """What the second operand leaves in a register of the first operand's size."""
        match RegisterExt.size(i.op0_register):
            case 8:
                return self._operand(i, 1)
            case 4:
                return narrow(self._operand(i, 1))
            case _:
                return UNKNOWN

    def _stack(self, i: Instruction) -> None:
        if i.mnemonic == Mnemonic.PUSH:
            pushed = self._operand(i, 0)
            self._move_stack(-_WORD)
            self.memory[self._top()] = pushed
            return
        if i.mnemonic == Mnemonic.LEAVE:
            self.set(Register.RSP, self.get(Register.RBP))
        register = Register.RBP if i.mnemonic == Mnemonic.LEAVE else i.op0_register
        if i.op_count and i.op0_kind != OpKind.REGISTER:
            raise Unproven("its stack pointer can't be followed")
        popped = self.memory.get(self._top(), UNKNOWN)
        self._move_stack(_WORD)
        self.set(register, popped)

    def _top(self) -> int:
        return self.get(Register.RSP).number

    def _move_stack(self, by: int) -> None:
        self.set(Register.RSP, Value(Kind.STACK, self._top() + by))

    def _operand(self, i: Instruction, number: int) -> Value:
        match i.op_kind(number):
            case OpKind.REGISTER:
                return self.get(i.op_register(number))
            case OpKind.MEMORY:
                place = self._address(i)
                known = place.kind is Kind.STACK
                return self.memory.get(place.number, UNKNOWN) if known else UNKNOWN
            case _:
                return Value(Kind.CONSTANT, i.immediate(number))

    def _address(self, i: Instruction) -> Value:
        base = self.get(i.memory_base)
        plain = i.memory_index == Register.NONE and i.segment_prefix == Register.NONE
        if base.kind is Kind.STACK and plain:
            return Value(Kind.STACK, base.number + signed(i.memory_displacement))
        return UNKNOWN

    def _store(self, i: Instruction) -> None:
        place = self._address(i)
        if place.kind is not Kind.STACK:
            self.memory.clear()  # it could be anywhere
            return
        for near in range(place.number - _WORD + 1, place.number + _WORD):
            self.memory.pop(near, None)
        if i.op1_kind == OpKind.REGISTER and RegisterExt.size(i.op1_register) == _WORD:
            self.memory[place.number] = self.get(i.op1_register)

    def _forget(self, i: Instruction) -> None:
        self.memory.clear()
        for register in written(i):
            self.set(register, UNKNOWN)


def narrow(value: Value) -> Value:
    """What a 32-bit copy leaves of a value."""
    match value.kind:
        case Kind.ARGUMENT | Kind.LOW:
            return Value(Kind.LOW, value.number)
        case Kind.CONSTANT | Kind.RESULT | Kind.LENGTH:
            return value
        case _:
            return UNKNOWN


def immediate(i: Instruction) -> bool:
    """Whether the second operand is a constant in the instruction."""
    return i.op_count == 2 and i.op1_kind not in (OpKind.REGISTER, OpKind.MEMORY)


def signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _cleared(i: Instruction) -> bool:
    registers = i.op0_kind == i.op1_kind == OpKind.REGISTER
    return registers and i.op0_register == i.op1_register
