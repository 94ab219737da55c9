"""Which program a site gets, and what the program is told about it."""

from __future__ import annotations

import re
from itertools import product

from services.capture.child import kernel
from services.capture.child.probes import cookie_of, program_of
from services.discovery.code import calls
from services.messages import Site


def site(operation: str, event: str, abi: str, frame: int = 0) -> Site:
    return Site(
        operation=operation, event=event, abi=abi, function="f", kind="uprobe",  # type: ignore[arg-type]
        address=0, offset=0, cost="emulated", frame=frame,
    )  # fmt: skip


def test_every_call_of_the_table_has_its_programs() -> None:
    programs = set(re.findall(r"^int (on_\w+)\(", kernel.source(), re.MULTILINE))
    for interface in calls.INTERFACES:
        for family in interface.transfers:
            for call, event in product(family.calls + family.alone, ("enter", "exit")):
                assert program_of(site(family.operation, event, call.abi)) in programs
        for one in interface.objects:
            both = one.event == "both"
            for event in ("enter", "exit") if both else (one.event,):
                abi = "object_pointer" if both else "object"
                assert program_of(site(one.operation, event, abi)) in programs


def test_what_enters_and_what_leaves_are_two_programs() -> None:
    for abi in ("returns_length", "object_pointer"):
        operation = "new" if abi == "object_pointer" else "read"
        names = {program_of(site(operation, event, abi)) for event in ("enter", "exit")}
        assert len(names) == 2


def test_a_cookie_holds_the_target_s_number_and_the_frame() -> None:
    cookie = cookie_of(site("read", "exit", "returns_length", frame=-8), 5)
    assert cookie == 0xFFFFFFF8_00000005
    assert cookie_of(site("read", "enter", "returns_length", frame=24), 1) == 24 << 32 | 1
