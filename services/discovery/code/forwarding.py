"""Proof that a public function only hands its call on to an internal one, and its result back.

Walks every path of the wrapper. Proven is: on each path the internal function is called at most
once, with the wrapper's own TLS object, buffer and size, and with a pointer to where the length
goes; a path without that call returns a constant that is no success; one with it returns what the
internal function returned, the length that it left, or such a constant. Anything that the walk does
not understand is unproven, never assumed.
"""

from __future__ import annotations

from typing import NamedTuple

from iced_x86 import ConditionCode, FlowControl, Instruction, OpKind, Register, RegisterExt
from msgspec import Struct

from services.discovery.code.abstraction import (
    LENGTH,
    RESULT,
    UNKNOWN,
    Kind,
    Path,
    Unproven,
    Value,
    narrow,
)
from services.discovery.code.disassembly import ARGUMENTS, Body, Leave, Listing, sweep

MAX_STEPS = 4096
_TLS, _BUFFER, _SIZE = (Value(Kind.ARGUMENT, n) for n in range(3))


class Walk(Struct):
    """A path, and what happened on it."""

    path: Path
    called: bool = False

    def fork(self, ip: int) -> Walk:
        return Walk(self.path.fork(ip), self.called)


class Pointers(NamedTuple):
    """Which argument is the length pointer, None where the length is the result: of the wrapper,
    and of what it calls."""

    own: int | None
    internal: int | None


class Wrapper(Struct):
    listing: Listing
    internal: frozenset[int]
    pointers: Pointers


def prove(body: Body, internal: frozenset[int], pointers: Pointers) -> None:
    """Raises `Unproven` with the reason where `body` isn't proven to hand its call on. `internal`
    are the addresses by which the internal function is called."""
    wrapper = Wrapper(sweep(body), internal, pointers)
    registers = {r: Value(Kind.ARGUMENT, n) for n, r in enumerate(ARGUMENTS)}
    registers[Register.RSP] = Value(Kind.STACK, 0)
    walks, handed_on = [Walk(Path(body.address, registers, {}))], False
    for _ in range(MAX_STEPS):
        if not walks:
            break
        walk = walks.pop()
        walks += _advance(wrapper, walk)
        handed_on |= walk.called
    if walks:
        raise Unproven("too many paths")
    if not handed_on:
        raise Unproven("it doesn't call the internal function")


def _advance(wrapper: Wrapper, walk: Walk) -> list[Walk]:
    """One instruction further: the walks that go on from there."""
    step = wrapper.listing.steps.get(walk.path.ip)
    if step is None:
        raise Unproven("its instructions can't be read")
    if step.outside and wrapper.internal.issuperset(step.outside) and not step.inside:
        _hand_on(wrapper, walk)  # a tail jump: call and return in one
        _check_result(wrapper, walk)
        return []
    if set(step.leaves) - {Leave.RETURN}:
        raise Unproven(f"it leaves by {step.leaves[0].value}")
    if step.leaves:
        _check_result(wrapper, walk)
        return []
    unmoved = _execute(wrapper, walk, wrapper.listing.instructions[walk.path.ip])
    return [w.fork(ip) for w in (walk, *unmoved) for ip in step.inside]


def _execute(wrapper: Wrapper, walk: Walk, i: Instruction) -> list[Walk]:
    """Changes the walk; returns others that it could have been instead."""
    if i.flow_control == FlowControl.CALL and i.near_branch_target in wrapper.internal:
        _hand_on(wrapper, walk)
    elif i.flow_control in (FlowControl.CALL, FlowControl.INDIRECT_CALL):
        walk.path.call()
    elif _is_conditional_move(i):
        kept = walk.fork(i.ip)
        if RegisterExt.size(i.op0_register) == 4:
            kept.path.set(i.op0_register, narrow(kept.path.get(i.op0_register)))
        walk.path.set(i.op0_register, walk.path.moved(i))
        return [kept]
    elif i.flow_control == FlowControl.NEXT:
        walk.path.run(i)
    return []


def _is_conditional_move(i: Instruction) -> bool:
    conditional = i.condition_code != ConditionCode.NONE and i.flow_control == FlowControl.NEXT
    return conditional and i.op_count == 2 and i.op0_kind == OpKind.REGISTER


def _hand_on(wrapper: Wrapper, walk: Walk) -> None:
    if walk.called:
        raise Unproven("it calls the internal function twice")
    tls, buffer, size = (walk.path.get(register) for register in ARGUMENTS[:3])
    if (tls, buffer) != (_TLS, _BUFFER):
        raise Unproven("it doesn't pass its object and buffer on")
    if size not in (_SIZE, Value(Kind.LOW, _SIZE.number)):
        raise Unproven("it doesn't pass its size on")
    pointer = _length_pointer(wrapper.pointers, walk)
    walk.called = True
    walk.path.call()
    walk.path.set(Register.RAX, RESULT)
    if pointer.kind is Kind.STACK:
        walk.path.memory[pointer.number] = LENGTH


def _length_pointer(pointers: Pointers, walk: Walk) -> Value:
    """What is passed for it, unknown where the length is the result of both."""
    own, internal = pointers
    if internal is None:
        if own is not None:
            raise Unproven("what it calls leaves no length behind a pointer")
        return UNKNOWN
    pointer = walk.path.get(ARGUMENTS[internal])
    if own is not None and pointer != Value(Kind.ARGUMENT, own):
        raise Unproven("it doesn't pass its length pointer on")
    if own is None and pointer.kind is not Kind.STACK:
        raise Unproven("it doesn't pass a place for the length")
    return pointer


def _check_result(wrapper: Wrapper, walk: Walk) -> None:
    result = walk.path.get(Register.RAX)
    failure = result.kind is Kind.CONSTANT and not 0 < result.number % (1 << 32) < 1 << 31
    if not walk.called and not failure:
        raise Unproven("it can succeed without the internal function")
    given_back = result == RESULT or (result == LENGTH and wrapper.pointers.own is None)
    if walk.called and not (given_back or failure):
        raise Unproven("it doesn't give the internal function's result back")
