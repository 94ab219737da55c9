"""Refusals: functions that look like Go's, but for one thing."""

from __future__ import annotations

import pytest

from services.discovery.code import elf, gosites
from services.discovery.code.disassembly import Body
from services.discovery.code.gosites import PARTS, Function
from tests.support import go_file

CHECK = bytes.fromhex("493b6610 7620 55 4889e5")  # cmp rsp, [r14+16]; jbe; push rbp; mov rbp, rsp
READ, CLIENT = PARTS[0], PARTS[4]


def refusal(code: bytes, part: gosites.Part = READ) -> str:
    return gosites.refusal(elf.X86_64, [Function(part, Body(part.name, 0x1000, code))])


def test_the_stack_check_is_what_go_s_functions_begin_with() -> None:
    assert refusal(CHECK + b"\xc3") == ""


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"\x55\x48\x89\xe5\xc3",  # push rbp; mov rbp, rsp: a C function
        bytes.fromhex("493b6618 7620 55 c3"),  # compares with something else
        bytes.fromhex("4883e810 493b6610 7620 55 c3"),  # sub rax, 16: the receiver is gone
        bytes.fromhex("493b6610 90 c3"),  # no jump
        bytes.fromhex("e9fbffffff"),
    ],
    ids=["empty", "c", "other field", "argument written", "no jump", "jump"],
)
def test_anything_else_is_refused(code: bytes) -> None:
    assert "no stack check" in refusal(code)


def test_a_method_value_must_load_its_receiver_from_the_closure() -> None:
    _, code = go_file.recorded("go1.27.3")
    assert refusal(code[CLIENT.name], CLIENT) == ""
    assert "closure" in refusal(CHECK + bytes.fromhex("488b5210 c3"), CLIENT)  # mov rdx, [rdx+16]
    assert "closure" in refusal(CHECK + bytes.fromhex("31d2 488b5208 c3"), CLIENT)  # rdx is cleared


def test_a_function_of_which_a_return_can_t_be_seen_is_not_probed() -> None:
    made = go_file.of_version("go1.27.3")
    data = made.content()
    file = elf.parse(lambda offset, size: data[offset : offset + size])
    at = made.addresses["crypto/tls.(*Conn).Read"]
    for code in (CHECK + b"\xc2\x08\x00", CHECK + b"\x90", CHECK + b"\xc3\x06"):
        sites, omitted = gosites.choose(file, [Function(READ, Body("Read", at, code))])
        assert sites == []
        assert [name for name, _ in omitted] == ["Read"]
