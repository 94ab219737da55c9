"""Proof that a public function only hands its call on to an internal one, and its result back.

Walks every path of the wrapper with an abstract value in each register and stack slot. Proven is:
on each path the internal function is called once at most, with the wrapper's own TLS object, buffer
and size, and with a pointer to where the length goes; a path without that call returns a constant
that is no success; one with it returns the internal function's result, the length that it left, or
such a constant. Anything that the walk does not understand is unproven, never assumed.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from iced_x86 import FlowControl, Instruction, Mnemonic, OpKind, Register, Register_, RegisterExt
from msgspec import Struct

from services.discovery.disassembly import ARGUMENTS, CALLER_SAVED, Body, Leave, Listing, written

MAX_STEPS = 4096


class Unproven(Exception):
    """Why the proof does not hold, for a user's eyes."""


class Kind(Enum):
    UNKNOWN = 0
    ARGUMENT = 1  # the wrapper's own, by number
    LOW = 2  # its lower half, extended
    CONSTANT = 3
    STACK = 4  # an address, relative to the stack pointer at the wrapper's first byte
    RESULT = 5  # of the internal function
    LENGTH = 6  # what the internal function left in the slot that it was pointed at


class Value(NamedTuple):
    kind: Kind
    number: int = 0


UNKNOWN = Value(Kind.UNKNOWN)
RESULT = Value(Kind.RESULT)
LENGTH = Value(Kind.LENGTH)


class Wrapper(NamedTuple):
    """`pointer_passed`: the wrapper's fourth argument is the length pointer (SSL_read_ex)."""

    listing: Listing
    internal: int
    pointer_passed: bool


class Path(Struct):
    ip: int
    registers: dict[Register_, Value]
    memory: dict[int, Value]
    length_slot: int | None = None
    called: bool = False

    def fork(self, ip: int) -> Path:
        return Path(ip, dict(self.registers), dict(self.memory), self.length_slot, self.called)

    def get(self, register: Register_) -> Value:
        return self.registers.get(RegisterExt.full_register(register), UNKNOWN)

    def set(self, register: Register_, value: Value) -> None:
        if register == Register.RSP and value.kind is not Kind.STACK:
            raise Unproven("its stack pointer can't be followed")
        self.registers[register] = value


def prove(body: Body, internal: int, *, pointer_passed: bool) -> None:
    """Raises `Unproven` with the reason where `body` isn't proven to hand its call on."""
    wrapper = Wrapper(Listing(body), internal, pointer_passed)
    start: dict[Register_, Value] = {r: Value(Kind.ARGUMENT, n) for n, r in enumerate(ARGUMENTS)}
    start[Register.RSP] = Value(Kind.STACK, 0)
    paths, handed_on = [Path(body.address, start, {})], False
    for _ in range(MAX_STEPS):
        if not paths:
            break
        handed_on |= _advance(wrapper, paths.pop(), paths)
    if paths or not handed_on:
        raise Unproven("too many paths" if paths else "it doesn't call the internal function")


def _advance(wrapper: Wrapper, path: Path, paths: list[Path]) -> bool:
    """One instruction further; true where a path ends that went through the internal function."""
    step = wrapper.listing.steps.get(path.ip)
    if step is None:
        raise Unproven("its instructions can't be read")
    i = wrapper.listing.instructions[path.ip]
    if step.outside == (wrapper.internal,) and not step.inside:
        _hand_on(wrapper, path)  # a tail jump: call and return in one
        _returns(wrapper, path)
        return True
    if set(step.leaves) - {Leave.RETURN}:
        raise Unproven(f"it leaves by {step.leaves[0].value}")
    if Leave.RETURN in step.leaves:
        _returns(wrapper, path)
        return path.called
    _execute(wrapper, path, i, paths)
    paths += [path.fork(ip) for ip in step.inside]
    return False


def _execute(wrapper: Wrapper, path: Path, i: Instruction, paths: list[Path]) -> None:
    match i.flow_control:
        case FlowControl.CALL if i.near_branch_target == wrapper.internal:
            _hand_on(wrapper, path)
        case FlowControl.CALL | FlowControl.INDIRECT_CALL:
            _clobber(path)
        case _ if i.condition_code and i.flow_control == FlowControl.NEXT and _is_cmov(i):
            kept = path.fork(i.next_ip)
            if RegisterExt.size(i.op0_register) == 4:
                kept.set(_full(i), _narrow(path.get(i.op0_register)))
            paths.append(kept)
            path.set(_full(i), _operand(path, i))
        case _:
            _compute(path, i)


def _hand_on(wrapper: Wrapper, path: Path) -> None:
    if path.called:
        raise Unproven("it calls the internal function twice")
    tls, buffer, size, pointer = (path.get(r) for r in ARGUMENTS)
    if (tls, buffer) != (Value(Kind.ARGUMENT, 0), Value(Kind.ARGUMENT, 1)):
        raise Unproven("it doesn't pass its object and buffer on")
    if size not in (Value(Kind.ARGUMENT, 2), Value(Kind.LOW, 2)):
        raise Unproven("it doesn't pass its size on")
    if wrapper.pointer_passed and pointer != Value(Kind.ARGUMENT, 3):
        raise Unproven("it doesn't pass its length pointer on")
    if not wrapper.pointer_passed and pointer.kind is not Kind.STACK:
        raise Unproven("it doesn't pass a place for the length")
    path.called = True
    path.length_slot = None if wrapper.pointer_passed else pointer.number
    _clobber(path)
    path.set(Register.RAX, RESULT)


def _clobber(path: Path) -> None:
    path.memory.clear()
    for register in CALLER_SAVED:
        path.registers.pop(register, None)


def _returns(wrapper: Wrapper, path: Path) -> None:
    result = path.get(Register.RAX)
    no_success = result.kind is Kind.CONSTANT and not 0 < result.number % (1 << 32) < 1 << 31
    if not path.called and not no_success:
        raise Unproven("it can succeed without the internal function")
    given_back = result == RESULT or (result == LENGTH and not wrapper.pointer_passed)
    if path.called and not (given_back or no_success):
        raise Unproven("it doesn't give the internal function's result back")


def _compute(path: Path, i: Instruction) -> None:
    match i.mnemonic:
        case Mnemonic.CMP | Mnemonic.TEST | Mnemonic.NOP | Mnemonic.ENDBR64:
            return
        case Mnemonic.PUSH:
            pushed = _operand(path, i, 0)
            _move_stack(path, -8)
            path.memory[_stack(path)] = pushed
        case Mnemonic.POP if i.op0_kind == OpKind.REGISTER:
            path.set(_full(i), path.memory.get(_stack(path), UNKNOWN))
            _move_stack(path, 8)
        case Mnemonic.LEAVE:
            path.set(Register.RSP, path.get(Register.RBP))
            path.set(Register.RBP, path.memory.get(_stack(path), UNKNOWN))
            _move_stack(path, 8)
        case Mnemonic.SUB | Mnemonic.ADD if i.op0_register == Register.RSP and _immediate(i):
            _move_stack(path, i.immediate(1) * (1 if i.mnemonic == Mnemonic.ADD else -1))
        case Mnemonic.XOR if i.op0_kind == i.op1_kind == OpKind.REGISTER and (
            i.op0_register == i.op1_register
        ):
            path.set(_full(i), Value(Kind.CONSTANT, 0))
        case Mnemonic.MOV if i.op0_kind == OpKind.REGISTER:
            path.set(_full(i), _moved(path, i))
        case Mnemonic.MOV if i.op0_kind == OpKind.MEMORY:
            _store(path, i)
        case Mnemonic.MOVSXD if i.op0_kind == i.op1_kind == OpKind.REGISTER:
            path.set(_full(i), _narrow(path.get(i.op1_register)))
        case Mnemonic.LEA:
            path.set(_full(i), _address(path, i))
        case _:
            _forget(path, i)


def _is_cmov(i: Instruction) -> bool:
    return i.op_count == 2 and i.op0_kind == i.op1_kind == OpKind.REGISTER


def _immediate(i: Instruction) -> bool:
    return i.op1_kind not in (OpKind.REGISTER, OpKind.MEMORY)


def _full(i: Instruction) -> Register_:
    return RegisterExt.full_register(i.op0_register)


def _stack(path: Path) -> int:
    return path.get(Register.RSP).number


def _move_stack(path: Path, by: int) -> None:
    path.set(Register.RSP, Value(Kind.STACK, _stack(path) + _signed(by)))


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _moved(path: Path, i: Instruction) -> Value:
    value = _operand(path, i)
    match RegisterExt.size(i.op0_register):
        case 8:
            return value
        case 4:
            return _narrow(value)
        case _:
            return UNKNOWN


def _narrow(value: Value) -> Value:
    """A 32-bit copy: what it leaves of the value."""
    match value.kind:
        case Kind.ARGUMENT | Kind.LOW:
            return Value(Kind.LOW, value.number)
        case Kind.CONSTANT | Kind.RESULT | Kind.LENGTH:
            return value
        case _:
            return UNKNOWN


def _operand(path: Path, i: Instruction, number: int = 1) -> Value:
    match i.op_kind(number):
        case OpKind.REGISTER:
            return path.get(i.op_register(number))
        case OpKind.MEMORY:
            return _load(path, i)
        case _:
            return Value(Kind.CONSTANT, i.immediate(number))


def _address(path: Path, i: Instruction) -> Value:
    base = path.get(i.memory_base)
    plain = i.memory_index == Register.NONE and i.segment_prefix == Register.NONE
    if base.kind is Kind.STACK and plain and i.op0_kind in (OpKind.REGISTER, OpKind.MEMORY):
        return Value(Kind.STACK, base.number + _signed(i.memory_displacement))
    return UNKNOWN


def _load(path: Path, i: Instruction) -> Value:
    place = _address(path, i)
    if place.kind is not Kind.STACK:
        return UNKNOWN
    if path.called and place.number == path.length_slot:
        return LENGTH
    return path.memory.get(place.number, UNKNOWN)


def _store(path: Path, i: Instruction) -> None:
    place = _address(path, i)
    wide = i.op1_kind == OpKind.REGISTER and RegisterExt.size(i.op1_register) == 8
    if place.kind is not Kind.STACK:
        path.memory.clear()  # it could be anywhere
        return
    for near in range(place.number - 7, place.number + 8):
        path.memory.pop(near, None)
    path.memory[place.number] = path.get(i.op1_register) if wide else UNKNOWN
    if place.number == path.length_slot:
        path.length_slot = None


def _forget(path: Path, i: Instruction) -> None:
    path.memory.clear()
    for register in written(i):
        path.set(register, UNKNOWN)
