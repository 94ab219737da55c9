"""What the scan of arm64 words takes for a RET, and what it refuses. Synthetic code, at 0x1000."""

from __future__ import annotations

import pytest

from services.discovery.code import arm64
from services.discovery.code.disassembly import Body

RET, NOP = 0xD65F03C0, 0xD503201F


def returns(*words: int) -> tuple[int, ...] | str:
    code = b"".join(word.to_bytes(4, "little") for word in words)
    return arm64.returns(Body("f", 0x1000, code))


def test_every_ret_is_found() -> None:
    assert returns(NOP, RET, NOP, RET) == (0x1004, 0x100C)


@pytest.mark.parametrize(
    "word",
    [
        pytest.param(0x14000001, id="b"),
        pytest.param(0x54000020, id="b.eq"),
        pytest.param(0xB4000020, id="cbz"),
        pytest.param(0x37000020, id="tbnz"),
        pytest.param(0x94000100, id="bl"),
        pytest.param(0xD63F0100, id="blr"),
    ],
)
def test_jumps_within_and_calls_are_no_way_out(word: int) -> None:
    assert returns(word, RET) == (0x1004,)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        pytest.param(0x14000100, "a jump to another function", id="b"),
        pytest.param(0x17FFFFFF, "a jump to another function", id="b-back"),
        pytest.param(0x54002000, "a jump to another function", id="b.eq"),
        pytest.param(0xB4002000, "a jump to another function", id="cbz"),
        pytest.param(0x37002000, "a jump to another function", id="tbnz"),
        pytest.param(0xD61F0100, "an indirect jump", id="br"),
        pytest.param(0xD71F0A11, "an indirect jump", id="braa"),
        pytest.param(0xD65F0BFF, "a signed return", id="retaa"),
        pytest.param(0xD65F0FFF, "a signed return", id="retab"),
        pytest.param(0x58000020, "data among its code", id="ldr-literal"),
        pytest.param(0x10000020, "data among its code", id="adr"),
    ],
)
def test_what_the_scan_cannot_vouch_for_is_refused(word: int, reason: str) -> None:
    found = returns(word, RET)
    assert isinstance(found, str)
    assert reason in found


def test_a_function_without_a_ret_never_returns() -> None:
    assert returns(NOP) == "it never returns"
