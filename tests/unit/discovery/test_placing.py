"""Each safety rule of a probe's place, by a body that breaks it. Synthetic code, at 0x1000."""

from __future__ import annotations

import pytest

from services.discovery.code import placing
from services.discovery.code.disassembly import Body, Listing

START = 0x1000

PUSH_RBX, PUSH_R12, POP_RBX, RET, NOP = "53", "4154", "5b", "c3", "90"
SUB_RSP_18, ADD_RSP_18 = "4883ec18", "4883c418"
TEST_EDX = "85d2"
XOR_EAX, XOR_EDX, MOV_EDI_ESI = "31c0", "31d2", "89f7"
MOV_EAX_1 = "b801000000"
STORE = "488907"  # mov [rdi], rax
ENDBR64 = "f30f1efa"
FAILURE = "e800000000"  # a call to code outside, as to the stack protector's


def listing(*code: str) -> Listing:
    return Listing(Body("f", START, bytes.fromhex("".join(code))))


def entry(*code: str, around: Body | None = None) -> placing.Place:
    return placing.entry(listing(*code), 4, lambda _: around)


def test_a_push_is_the_cheapest_entry() -> None:
    assert entry(PUSH_RBX, POP_RBX, RET) == placing.Place(START, 0, emulated=True)


def test_a_push_behind_endbr64_still_has_the_return_address_on_top() -> None:
    assert entry(ENDBR64, PUSH_R12, "415c", RET) == placing.Place(START + 4, 0, emulated=True)


def test_a_conditional_jump_sees_the_arguments_below_the_frame() -> None:
    found = entry(SUB_RSP_18, TEST_EDX, "7801", NOP, ADD_RSP_18, RET)
    assert found == placing.Place(START + 6, 0x18, emulated=True)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param((SUB_RSP_18, XOR_EDX, "7400", ADD_RSP_18, RET), id="size"),
        pytest.param((SUB_RSP_18, MOV_EDI_ESI, "7400", ADD_RSP_18, RET), id="object"),
        pytest.param((SUB_RSP_18, "66ba0100", "7400", ADD_RSP_18, RET), id="lower-half"),
        pytest.param((SUB_RSP_18, "b200", "7400", ADD_RSP_18, RET), id="lowest-byte"),
        pytest.param((SUB_RSP_18, "0fa2", "7400", ADD_RSP_18, RET), id="implicitly"),
    ],
)
def test_an_entry_is_refused_once_an_argument_is_written(code: tuple[str, ...]) -> None:
    found = entry(*code)
    assert (found.address, found.emulated) == (START, False)
    assert "straight line ends" in found.reason


def test_an_argument_that_the_call_does_not_have_may_be_written() -> None:
    code = listing(SUB_RSP_18, XOR_EDX, "7400", ADD_RSP_18, RET)
    assert placing.entry(code, 1, lambda _: None).emulated


def test_an_entry_is_refused_where_a_jump_lands_on_the_way() -> None:
    #           +0          +4        +6 je +0      +8: jmp +4
    found = entry(SUB_RSP_18, TEST_EDX, "7402", "ebfa", ADD_RSP_18, RET)
    assert (found.emulated, found.reason) == (False, "a jump lands at +0x4")


def test_an_entry_at_the_first_byte_is_refused_where_a_loop_comes_back_to_it() -> None:
    assert not entry(PUSH_RBX, POP_RBX, TEST_EDX, "75fa", RET).emulated


def test_an_entry_is_refused_where_a_cold_part_jumps_back_before_it() -> None:
    cold = Body("f.cold", 0x2000, bytes.fromhex("e9ffefffff"))  # jmp 0x1004
    #  sub, test, je +0, jmp 0x2000, ...
    code = (SUB_RSP_18, TEST_EDX, "7405", "e9f30f0000", ADD_RSP_18, RET)
    assert not entry(*code, around=cold).emulated
    assert not entry(*code, around=None).emulated
    assert entry(*code, around=Body("g", 0x2000, bytes.fromhex("c3"))).emulated


@pytest.mark.parametrize(
    "first",
    [
        pytest.param("0f1f440000", id="nop5"),
        pytest.param("6690", id="nop2"),
        pytest.param("c3", id="ret"),
        pytest.param("ffe0", id="indirect"),
        pytest.param("ff30", id="push-memory"),
        pytest.param("6a01", id="push-constant"),
        pytest.param("e300", id="jrcxz"),
        pytest.param("ff", id="cut"),
    ],
)
def test_what_the_kernel_single_steps_is_no_cheap_entry(first: str) -> None:
    assert not entry(first, RET).emulated


def exit_of(*code: str) -> placing.Place | str:
    return placing.emulated_exit(listing(*code))


#        +0          +4         +9 jne +4 (to the failure)   +11        +15  +16
GUARDED = (SUB_RSP_18, MOV_EAX_1, "7507", ADD_RSP_18, XOR_EDX, RET, FAILURE)


def test_the_stack_protectors_jump_sees_the_result() -> None:
    assert exit_of(*GUARDED) == placing.Place(START + 9, 0x18, emulated=True)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param((SUB_RSP_18, MOV_EAX_1, "7507", ADD_RSP_18, XOR_EAX, RET, FAILURE), id="eax"),
        pytest.param((SUB_RSP_18, MOV_EAX_1, "7507", ADD_RSP_18, "b001", RET, FAILURE), id="al"),
        pytest.param((SUB_RSP_18, "7507", "0fa2", ADD_RSP_18, RET, FAILURE), id="cpuid"),
        pytest.param((SUB_RSP_18, "7507", STORE, ADD_RSP_18, RET, FAILURE), id="memory"),
        pytest.param((SUB_RSP_18, "750a", FAILURE, ADD_RSP_18, RET, FAILURE), id="call"),
    ],
)
def test_an_exit_is_refused_where_something_is_written_after_it(code: tuple[str, ...]) -> None:
    assert isinstance(exit_of(*code), str)


def test_an_exit_is_refused_where_a_path_goes_around_it() -> None:
    #  js to the second RET; jne; ret; ret; failure
    assert isinstance(exit_of("7808", MOV_EAX_1, "7502", RET, RET, FAILURE), str)


def test_an_exit_is_refused_in_a_loop() -> None:
    #  dec edx; jne back to it; ret
    assert isinstance(exit_of(MOV_EAX_1, "ffca", "75fc", RET), str)


def test_an_exit_is_refused_where_paths_disagree_on_the_stack() -> None:
    #  js past a push, then the shared jne
    assert isinstance(exit_of("7801", PUSH_RBX, MOV_EAX_1, "7501", RET, FAILURE), str)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        pytest.param("ffe0", "an indirect jump", id="indirect"),
        pytest.param("e900100000", "a jump to another function", id="tail"),
        pytest.param(NOP, "running past its end", id="end"),
        pytest.param("ebfa", "a jump into the middle of an instruction", id="middle"),
    ],
)
def test_an_exit_is_refused_where_the_function_leaves_otherwise(way: str, reason: str) -> None:
    found = exit_of(SUB_RSP_18, "7502", RET, NOP, MOV_EAX_1, way)
    assert isinstance(found, str)
    assert reason in found


def test_code_that_cannot_be_read_has_no_place() -> None:
    assert exit_of("06") == "its instructions can't be read"
    assert entry("06").reason == "its instructions can't be read"
    assert not entry("").emulated
