"""Which program a site gets, and what the program is told about it."""

from __future__ import annotations

import re
from itertools import product

from services.capture import kernel
from services.capture.probes import cookie_of, program_of
from services.messages import Site


def site(operation: str, event: str, abi: str, frame: int = 0) -> Site:
    return Site(
        operation=operation, event=event, abi=abi, function="f", kind="uprobe",  # type: ignore[arg-type]
        address=0, offset=0, cost="emulated", frame=frame,
    )  # fmt: skip


def test_every_kind_of_site_has_its_program() -> None:
    programs = set(re.findall(r"^int (on_\w+)\(", kernel.source(), re.MULTILINE))
    for operation, event, abi in product(
        ("read", "write"), ("enter", "exit"), ("returns_length", "length_pointer")
    ):
        assert program_of(site(operation, event, abi)) in programs
    for operation, event in (("new", "exit"), ("clear", "enter"), ("free", "enter")):
        assert program_of(site(operation, event, "object")) in programs


def test_a_cookie_holds_the_target_s_number_and_the_frame() -> None:
    cookie = cookie_of(site("read", "exit", "returns_length", frame=-8), 5)
    assert cookie == 0xFFFFFFF8_00000005
    assert cookie_of(site("read", "enter", "returns_length", frame=24), 1) == 24 << 32 | 1
