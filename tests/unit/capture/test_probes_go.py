"""Probes on Go programs: which program each site runs, in which order they are attached."""

from __future__ import annotations

from services.capture.child import probes
from services.discovery.code import elf, golang
from services.messages import Site
from tests.support import go_file


def sites() -> tuple[Site, ...]:
    data = go_file.of_version("go1.27.3").content()
    return golang.choose(elf.parse(lambda offset, size: data[offset : offset + size])).sites


def test_exits_are_attached_first_and_births_last() -> None:
    """So that no connection counts as whole whose first call nobody saw."""
    order = [program for program, _ in probes._by_program(sites())]
    assert set(order[:2]) == {"on_go_read_exit", "on_go_write_exit"}
    assert set(order[2:4]) == {"on_go_read_enter", "on_go_write_enter"}
    assert order[4] == "on_go_free_enter"
    assert set(order[5:]) == {"on_go_new_enter", "on_go_clear_enter"}


def test_no_return_probe_is_ever_put_on_a_go_program() -> None:
    assert {flags for _, flags in probes._by_program(sites())} == {0}


def test_probes_of_another_time_are_told_apart() -> None:
    """A goroutine's call may outlast the probes that saw its entry."""
    site = sites()[0]
    first, second = (probes.cookie_of(probes._dated(site, n), 7) for n in (1, 2))
    assert first != second
    assert first & 0xFFFFFFFF == second & 0xFFFFFFFF == 7


def test_what_is_proven_of_a_site_s_stack_is_told_beside_its_time() -> None:
    found = {
        (site.operation, site.event): probes.cookie_of(probes._dated(site, 5), 7)
        for site in sites()
    }
    assert found["read", "exit"] == (5 << 1 | 1) << 32 | 7
    assert {found[key] for key in found if key != ("read", "exit")} == {(5 << 1) << 32 | 7}
