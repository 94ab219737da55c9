"""When a wrapper provably hands its call on. Synthetic wrappers at 0x1000; internal at 0x2000."""

from __future__ import annotations

import pytest

from services.discovery.code import forwarding
from services.discovery.code.abstraction import Unproven
from services.discovery.code.disassembly import Body
from services.discovery.code.forwarding import Pointers
from tests.support.functions import load

START, INTERNAL = 0x1000, 0x2000

SUB_RSP_18, ADD_RSP_18, RET = "4883ec18", "4883c418", "c3"
MOVSXD_SIZE, SLOT_IN_RCX = "4863d2", "488d4c2408"  # movsxd rdx, edx · lea rcx, [rsp+8]
TEST_EAX, LENGTH_IF_POSITIVE = "85c0", "0f4f442408"  # cmovg eax, [rsp+8]
CALL, JUMP = "call", "jmp"
PLAIN, EXTENDED = Pointers(None, 3), Pointers(3, 3)  # SSL_read's form, and SSL_read_ex's


def body(*code: str) -> Body:
    """`CALL` and `JUMP` go to the internal function."""
    machine_code = b""
    for part in code:
        if part in (CALL, JUMP):
            opcode = b"\xe8" if part == CALL else b"\xe9"
            distance = INTERNAL - START - len(machine_code) - 5
            machine_code += opcode + distance.to_bytes(4, "little", signed=True)
        else:
            machine_code += bytes.fromhex(part)
    return Body("wrapper", START, machine_code)


def refusal(*code: str, pointers: Pointers) -> str:
    with pytest.raises(Unproven) as caught:
        forwarding.prove(body(*code), frozenset({INTERNAL}), pointers)
    return str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param((CALL, RET), id="bare"),
        pytest.param((JUMP,), id="tail-jump"),
        pytest.param(("55", "4889e5", CALL, "c9", RET), id="frame-pointer"),
        pytest.param(("53", "4889fb", "31ff", "4889df", CALL, "5b", RET), id="moved-and-back"),
        pytest.param(
            (SUB_RSP_18, "48893c24", "31ff", "488b3c24", CALL, ADD_RSP_18, RET), id="spill"
        ),
        pytest.param((CALL, TEST_EAX, "7902", "31c0", RET), id="negative-becomes-zero"),
    ],
)
def test_a_wrapper_with_the_callers_pointer_is_proven(code: tuple[str, ...]) -> None:
    forwarding.prove(body(*code), frozenset({INTERNAL}), EXTENDED)


def test_a_wrapper_with_a_pointer_of_its_own_is_proven() -> None:
    code = (
        SUB_RSP_18,
        MOVSXD_SIZE,
        SLOT_IN_RCX,
        CALL,
        TEST_EAX,
        LENGTH_IF_POSITIVE,
        ADD_RSP_18,
        RET,
    )
    forwarding.prove(body(*code), frozenset({INTERNAL}), PLAIN)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param(("31ff", CALL, RET), "object and buffer", id="object"),
        pytest.param(("4887f7", CALL, RET), "object and buffer", id="swapped"),
        pytest.param(("83c601", CALL, RET), "object and buffer", id="buffer-moved"),
        pytest.param(("83c201", CALL, RET), "size", id="size"),
        pytest.param(("31c9", CALL, RET), "length pointer", id="pointer"),
        pytest.param((CALL, CALL, RET), "twice", id="twice"),
        pytest.param(("ffd0", CALL, RET), "object and buffer", id="after-another-call"),
        pytest.param((CALL, "83f001", RET), "result back", id="result-changed"),
        pytest.param((CALL, "b801000000", RET), "result back", id="constant-success"),
        pytest.param((TEST_EAX, "7406", CALL, RET, "b801000000", RET), "can succeed", id="around"),
        pytest.param((TEST_EAX, "7406", CALL, RET, RET), "can succeed", id="around-unknown"),
        pytest.param((RET,), "can succeed", id="never"),
        pytest.param(("b8ffffffff", RET), "doesn't call", id="only-failure"),
        pytest.param(("ffe0",), "an indirect jump", id="indirect"),
        pytest.param(("e900100000",), "another function", id="elsewhere"),
        pytest.param((CALL, "06"), "its end", id="unreadable"),
        pytest.param(("06",), "can't be read", id="nothing-readable"),
        pytest.param(("488b20", CALL, RET), "stack pointer", id="other-stack"),
        pytest.param(("ebfe",), "too many paths", id="endless"),
    ],
)
def test_a_wrapper_is_refused_with_the_reason(code: tuple[str, ...], reason: str) -> None:
    found = refusal(*code, pointers=EXTENDED)
    assert reason in found


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param((MOVSXD_SIZE, CALL, RET), "a place for the length", id="no-place"),
        pytest.param((SLOT_IN_RCX, CALL, "8b442410", RET), "result back", id="another-slot"),
        pytest.param(
            (SUB_RSP_18, SLOT_IN_RCX, CALL, "c744240801000000", "8b442408", ADD_RSP_18, RET),
            "result back",
            id="slot-overwritten",
        ),
    ],
)
def test_a_wrapper_with_a_pointer_of_its_own_is_refused(code: tuple[str, ...], reason: str) -> None:
    assert reason in refusal(*code, pointers=PLAIN)


def test_a_conditional_move_is_both_of_its_outcomes() -> None:
    code = (CALL, "b901000000", TEST_EAX, "0f48c1", RET)  # cmovs eax, ecx: 1 for a failure
    assert "result back" in refusal(*code, pointers=EXTENDED)


def test_hostile_loops_end() -> None:
    forks = "7500" * 40 + "ebae"  # 2**40 ways through
    assert "too many paths" in refusal(forks, pointers=EXTENDED)


FLAGS_THEN_POINTER = ("4989c8", "31c9")  # mov r8, rcx · xor ecx, ecx


def test_a_pointer_may_be_passed_on_in_another_place() -> None:
    """SSL_write_ex of OpenSSL 3.3 and later: flags come before the pointer."""
    forwarding.prove(body(*FLAGS_THEN_POINTER, JUMP), frozenset({INTERNAL}), Pointers(3, 4))
    assert "length pointer" in refusal(*FLAGS_THEN_POINTER, JUMP, pointers=EXTENDED)


def test_a_slot_for_the_length_may_be_the_fifth_argument() -> None:
    slot = "4c8d442408"  # lea r8, [rsp+8]
    code = (SUB_RSP_18, slot, CALL, TEST_EAX, LENGTH_IF_POSITIVE, ADD_RSP_18, RET)
    forwarding.prove(body(*code), frozenset({INTERNAL}), Pointers(None, 4))


@pytest.mark.parametrize(
    ("name", "internal"), [("SSL_read", 0x35290), ("SSL_write", 0x355A0)], ids=["read", "write"]
)
def test_debians_wrappers_are_proven(name: str, internal: int) -> None:
    image = load("openssl-3.0-debian")
    for function in (name, f"{name}_ex"):
        wrapper = image.named(function)
        assert wrapper is not None
        forwarding.prove(
            wrapper, frozenset({internal}), EXTENDED if function.endswith("_ex") else PLAIN
        )
