"""Of which functions it is proven that their arguments lie above the return address in the end."""

from __future__ import annotations

import pytest

from services.discovery.code import elf, golang
from services.discovery.code.disassembly import Body
from services.discovery.code.gospills import keeps_arguments
from tests.support import go_file

CHECK = "493b6610 7650"  # cmp rsp, [r14+16]; jbe
FRAME = "55 4889e5 4883ec58"  # push rbp; mov rbp, rsp; sub rsp, 0x58
STORES = "4889442468 48894c2478 48895c2470"  # mov [rsp+0x68], rax; +0x78, rcx; +0x70, rbx
END = "4883c458 5d c3"


def keeps(*code: str) -> bool:
    return keeps_arguments(Body("Read", 0x1000, bytes.fromhex("".join(code))))


@pytest.mark.parametrize("version", go_file.VERSIONS)
def test_of_read_it_is_proven_and_of_write_it_is_not(version: str) -> None:
    """As measured: at the end of Write the receiver is not there."""
    _, code = go_file.recorded(version)
    assert keeps_arguments(Body("Read", 0x1000, code["Read"]))
    assert not keeps_arguments(Body("Write", 0x1000, code["Write"]))


@pytest.mark.parametrize("version", [*go_file.VERSIONS, "go1.26.8-arm64"])
def test_only_the_ends_of_read_say_so(version: str) -> None:
    made = go_file.of_version(version)
    data = made.content()
    found = golang.choose(elf.parse(lambda offset, size: data[offset : offset + size]))
    told = {(s.operation, s.event) for s in found.sites if s.keeps_arguments}
    assert told == ({("read", "exit")} if made.machine == elf.X86_64 else set())


def test_three_stores_in_the_first_block_are_the_proof() -> None:
    assert keeps(CHECK, FRAME, STORES, END)
    # add rsp, -128; the stores above it
    assert keeps(
        CHECK, "55 4889e5 4883c480", "4889842490000000 48898c24a0000000 48899c2498000000",
        "4883ec80 5d c3",
    )  # fmt: skip


@pytest.mark.parametrize(
    "code",
    [
        (CHECK, FRAME, END),
        (CHECK, FRAME, "4889442468 48894c2478", END),  # the buffer isn't stored
        (CHECK, FRAME, "4889442470 4889442468 48895c2478", END),  # others than these
        (CHECK, FRAME, "31c0", STORES, END),  # xor eax, eax: the receiver is gone
        (CHECK, FRAME, "e800000000", STORES, END),  # a call, which may change all
        (CHECK, FRAME, "7402", STORES, END),  # a way round them
        (CHECK, FRAME, "4883e4f0", STORES, END),  # and rsp, -16
        (CHECK, FRAME, STORES, "4889542470", END),  # mov [rsp+0x70], rdx
        (CHECK, FRAME, STORES, "c644247f00", END),  # mov byte ptr [rsp+0x7f], 0
        (CHECK, FRAME, STORES, "0f11442460", END),  # movups [rsp+0x60], xmm0: reaches 0x68
        (CHECK, FRAME, STORES, "4889144c", END),  # mov [rsp+rcx*2], rdx
        (CHECK, FRAME, STORES, "488d542470", END),  # lea rdx, [rsp+0x70]
        (CHECK, FRAME, STORES, "48895510", END),  # mov [rbp+0x10], rdx
        (CHECK, FRAME, STORES, END, "ebf3"),  # a jump to among the stores
        (),
    ],
)  # fmt: skip
def test_without_the_proof_nothing_is_claimed(code: tuple[str, ...]) -> None:
    assert not keeps(*code)


def test_what_lies_beside_may_change() -> None:
    beside = "4889542460 4889942480000000"  # mov [rsp+0x60], rdx; mov [rsp+0x80], rdx
    assert keeps(CHECK, FRAME, STORES, beside, "488b542470", END)  # and one is read
