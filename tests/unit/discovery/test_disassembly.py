"""Which instructions the kernel emulates, and where control goes."""

from __future__ import annotations

import pytest

from services.discovery.code.disassembly import Body, Leave, Listing, is_emulated


@pytest.mark.parametrize(
    "code", ["55", "4154", "90", "eb00", "e900000000", "e800000000", "7800", "0f8500000000"]
)
def test_these_are_emulated(code: str) -> None:
    assert is_emulated(bytes.fromhex(code))


@pytest.mark.parametrize(
    "code",
    [
        "4883ec18",  # sub
        "85d2",  # test
        "c3",
        "6690",  # two-byte nop
        "0f1f440000",  # five-byte nop
        "4855",  # push with a prefix that the kernel does not take
        "6a00",  # push of a constant
        "ff30",  # push of memory
        "66e90000",  # 16-bit jump
        "ffe0",
        "e300",  # jrcxz
        "f2eb00",  # jump with a prefix
        "f30f1efa",  # endbr64
        "",
    ],
)
def test_these_are_single_stepped(code: str) -> None:
    assert not is_emulated(bytes.fromhex(code))


def test_a_call_at_the_very_end_does_not_return() -> None:
    listing = Listing(Body("f", 0x10, bytes.fromhex("7501c3e800000000")))
    assert listing.steps[0x13].inside == ()
    assert listing.steps[0x13].leaves == ()


def test_a_jump_into_an_instruction_is_no_step() -> None:
    listing = Listing(Body("f", 0x10, bytes.fromhex("eb01b801000000c3")))
    assert listing.steps[0x10].leaves == (Leave.BOUNDARY,)


def test_a_sweep_stops_at_what_is_no_instruction() -> None:
    listing = Listing(Body("f", 0x10, bytes.fromhex("90069090")))
    assert list(listing.instructions) == [0x10]
    assert listing.steps[0x10].leaves == (Leave.END,)
