"""Functions with all the code that they run: what their jumps lead to, and when that is proven."""

from __future__ import annotations

import struct

import pytest
from iced_x86 import Code, Encoder, Instruction, MemoryOperand, Register

from services.discovery.code import joining, placing
from services.discovery.code.disassembly import Body, Leave, sweep
from services.discovery.code.elf import X86_64
from tests.support.functions import RecordedImage, load

BEGIN, FAR, TABLE = 0x1000, 0x2000, 0x3000

# cmp dword [rbx+0x548], 2; ja default; mov eax, [rbx+0x548]; lea rdx, [table]
# movsxd rax, [rdx+rax*4]; add rax, rdx; jmp rax; then a ret for each case and the default
RET = Instruction.create(Code.RETNQ)
STATE = MemoryOperand(Register.RBX, displ=0x548, displ_size=8)


def switch(bound: int = 2, load: MemoryOperand = STATE) -> list[Instruction]:
    return [
        Instruction.create_mem_i32(Code.CMP_RM32_IMM8, STATE, bound),
        Instruction.create_branch(Code.JA_REL32_64, 0),
        Instruction.create_reg_mem(Code.MOV_R32_RM32, Register.EAX, load),
        Instruction.create_reg_mem(
            Code.LEA_R64_M, Register.RDX, MemoryOperand(Register.RIP, displ=TABLE, displ_size=8)
        ),
        Instruction.create_reg_mem(
            Code.MOVSXD_R64_RM32,
            Register.RAX,
            MemoryOperand(Register.RDX, Register.RAX, 4),
        ),
        Instruction.create_reg_reg(Code.ADD_R64_RM64, Register.RAX, Register.RDX),
        Instruction.create_reg(Code.JMP_RM64, Register.RAX),
        RET, RET, RET, RET,
    ]  # fmt: skip


def assembled(code: list[Instruction]) -> Body:
    """`ja` leads to the last instruction."""

    sizes, last = [], 0
    for _ in range(2):
        encoder, out, sizes = Encoder(64), b"", []
        for i in code:
            if i.code == Code.JA_REL32_64:
                i.near_branch64 = last or BEGIN
            sizes.append(encoder.encode(i, BEGIN + sum(sizes)))
        out = encoder.take_buffer()
        last = BEGIN + sum(sizes[:-1])
    return Body("switching", BEGIN, out)


def image(distances: list[int], *parts: Body) -> RecordedImage:
    made = RecordedImage(X86_64, {}, list(parts))
    raw = struct.pack(f"<{len(distances)}i", *distances)
    made.add({}, [{"address": hex(TABLE), "bytes": raw.hex()}])
    return made


def cases(body: Body) -> list[int]:
    rets = [ip for ip, i in sweep(body).instructions.items() if i.code == Code.RETNQ]
    return [ip - TABLE for ip in rets[:3]]


def test_a_switch_leads_to_the_cases_of_its_table() -> None:
    body = assembled(switch())
    whole = joining.whole(body, image(cases(body)))
    rets = [ip for ip, i in sweep(body).instructions.items() if i.code == Code.RETNQ]
    assert placing.returns(sweep(body)) == "it leaves by an indirect jump"
    assert placing.returns(sweep(whole)) == tuple(rets)


@pytest.mark.parametrize(
    "code",
    [
        switch(bound=5),  # the table that the file has there is shorter
        switch(load=MemoryOperand(Register.RBX, displ=0x54C, displ_size=8)),
        switch(load=MemoryOperand(Register.RSI, displ=0x548, displ_size=8)),
        switch()[1:],
        switch()[:2] + switch()[3:],
        [*switch()[:2], Instruction.create_reg(Code.CALL_RM64, Register.RSI), *switch()[2:]],
        [*switch()[:5], *switch()[6:]],
    ],
    ids=["bound", "other field", "other base", "no bound", "no load", "a call", "no sum"],
)
def test_an_indirect_jump_without_that_proof_stays_one(code: list[Instruction]) -> None:
    body = assembled(code)
    whole = joining.whole(body, image(cases(body)))
    assert not whole.switches
    assert Leave.INDIRECT in {way for step in sweep(whole).steps.values() for way in step.leaves}


def test_a_case_outside_the_function_is_no_proof() -> None:
    body = assembled(switch())
    whole = joining.whole(body, image([*cases(body)[:2], 0x700]))
    assert placing.returns(sweep(whole)) == "it leaves by a jump to another function"


def test_a_jump_at_the_end_goes_on_in_the_function_that_it_leads_to() -> None:
    image = load("gnutls-3.7-debian")
    body = image.named("gnutls_record_recv")
    assert body is not None
    whole = joining.whole(body, image)
    found = placing.returns(sweep(whole))
    assert placing.returns(sweep(body)) == "it leaves by a jump to another function"
    assert isinstance(found, tuple)
    (part,) = whole.parts
    assert {body.address <= ip < body.end for ip in found} == {True, False}
    assert all(body.address <= ip < body.end or part.address <= ip < part.end for ip in found)


def test_a_jump_to_unknown_code_stays_a_refusal() -> None:
    image = load("gnutls-3.7-debian")
    body = image.named("gnutls_record_recv")
    assert body is not None
    alone = RecordedImage(image.machine, {body.name: body}, [])
    assert joining.whole(body, alone) == body


def test_code_of_another_machine_is_left_as_it_is() -> None:
    body = assembled(switch())
    other = image(cases(body))
    other.machine = 0
    assert joining.whole(body, other) == body
