"""What is chosen in files that Go built, and what is left alone. The functions are real, the files
around them made (tests/support/go_file.py); whole programs are in tests/e2e/test_go.py."""

from __future__ import annotations

import pytest

from services.discovery.code import elf, golang
from services.discovery.code.golang import Choice
from tests.support import go_file
from tests.support.go_file import GoFile

ALL = (*go_file.VERSIONS, "go1.26.8-arm64")
FORK = "example.com/fork/utls"


def chosen(made: GoFile) -> Choice:
    data = made.content()
    return golang.choose(elf.parse(lambda offset, size: data[offset : offset + size]))


def places(found: Choice) -> list[tuple[str, str, int]]:
    return [(site.operation, site.event, site.address) for site in found.sites]


@pytest.mark.parametrize("version", ALL)
def test_every_transfer_is_seen_at_its_entry_and_at_all_its_returns(version: str) -> None:
    made = go_file.of_version(version)
    data, found = made.content(), chosen(made)
    ret = b"\xc3" if made.machine == elf.X86_64 else b"\xc0\x03\x5f\xd6"

    assert found.library == f"go crypto/tls {made.told}"
    assert (found.omitted, found.reason) == ((), "")
    entries = [site for site in found.sites if site.event == "enter"]
    assert [site.operation for site in entries] == ["read", "write", "free", "new", "clear"]
    assert {site.cost for site in entries} == {"emulated"}
    for operation, part in (("read", "Read"), ("write", "Write")):
        exits = [s for s in found.sites if s.operation == operation and s.event == "exit"]
        assert 5 < len(exits) < 12
        assert all(data[s.offset : s.offset + len(ret)] == ret for s in exits)
        assert all(s.kind == "uprobe" and s.abi == "go" for s in exits)
        assert exits[0].function == f"crypto/tls.(*Conn).{part}"


@pytest.mark.parametrize("version", ["go1.21.13", "go1.26.8", "go1.27.3"])
def test_an_entry_is_the_push_behind_the_stack_check(version: str) -> None:
    made = go_file.of_version(version)
    data = made.content()
    entries = [site for site in chosen(made).sites if site.event == "enter"]
    assert {data[site.offset : site.offset + 4] for site in entries} == {b"\x55\x48\x89\xe5"}


def test_where_go_saves_no_frame_the_entry_is_the_stack_check_s_jump() -> None:
    made = go_file.of_version("go1.19.8")
    data = made.content()
    entries = [site for site in chosen(made).sites if site.event == "enter"]
    assert {data[s.offset : s.offset + 1] for s in entries} <= {b"\x76", b"\x0f"}


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    "settings",
    [{"sections": False}, {"module": False, "text_in_table": True}, {"module": False}],
    ids=["no section headers", "told by the table", "told by .text"],
)
def test_the_same_sites_are_found_by_whatever_the_linker_left(
    version: str, settings: dict[str, bool]
) -> None:
    assert places(chosen(go_file.of_version(version, **settings))) == places(
        chosen(go_file.of_version(version))
    )


def test_code_of_another_language_before_go_s_shifts_nothing() -> None:
    """As in externally linked programs, where .text begins before runtime.text."""
    made = go_file.of_version("go1.26.8", before_text=0x100)
    moved = [(op, event, at - 0x100) for op, event, at in places(chosen(made))]
    assert moved == places(chosen(go_file.of_version("go1.26.8")))


def test_nothing_is_probed_where_the_code_is_not_what_the_table_says() -> None:
    made = go_file.of_version("go1.26.8", before_text=0x120, module=False)
    found = chosen(made)
    assert found.sites == ()
    assert "no stack check" in found.reason
    assert found.library == "go crypto/tls go1.26.8"


def test_a_server_without_a_client_s_handshake_is_probed_without_it() -> None:
    made = go_file.of_version("go1.26.8")
    del made.functions["crypto/tls.(*Conn).clientHandshake-fm"]
    assert [s.operation for s in chosen(made).sites if s.event == "enter"] == [
        "read", "write", "free", "new",
    ]  # fmt: skip


def test_without_any_handshake_connections_could_be_mistaken_for_one_another() -> None:
    made = go_file.of_version("go1.26.8")
    for part in ("clientHandshake-fm", "serverHandshake"):
        del made.functions[f"crypto/tls.(*Conn).{part}"]
    assert chosen(made).sites == ()
    assert "handshake" in chosen(made).reason


def test_a_fork_that_keeps_the_methods_is_probed_too() -> None:
    made = go_file.of_version("go1.26.8")
    made.functions |= go_file.of_version("go1.26.8", FORK).functions
    functions = {site.function for site in chosen(made).sites}
    assert {"crypto/tls.(*Conn).Read", f"{FORK}.(*Conn).Read"} <= functions


def test_a_fork_whose_writes_go_elsewhere_is_left_alone_and_named() -> None:
    made = go_file.of_version("go1.26.8", FORK)
    made.functions[f"{FORK}.(*UConn).Write"] = made.functions[f"{FORK}.(*Conn).Write"]
    found = chosen(made)
    assert found.sites == ()
    assert found.omitted == (
        (f"{FORK}.(*Conn)", "a fork whose connections are written to by another type"),
    )


@pytest.mark.parametrize(
    "main", ["github.com/nats-io/nats-server", "github.com/nats-io/nats-server/v2"]
)
def test_the_bus_is_never_captured(main: str) -> None:
    found = chosen(go_file.of_version("go1.26.8", main=main))
    assert found.sites == ()
    assert "nats-server" in found.reason


def test_what_is_not_go_or_speaks_no_tls_is_none_of_its_business() -> None:
    made = go_file.of_version("go1.26.8")
    hidden = made.content().replace(b"\xff Go buildinf:", b"\xff No buildinf:")
    assert golang.choose(elf.parse(lambda o, n: hidden[o : o + n])) == Choice()
    assert chosen(GoFile({"main.main": made.functions["crypto/tls.(*Conn).Read"]})) == Choice()


@pytest.mark.parametrize(
    "settings", [{"told": "go1.17.13"}, {"magic": 0xFFFFFFFA}], ids=["version", "table"]
)
def test_go_of_before_1_18_is_named_and_left_alone(settings: dict[str, object]) -> None:
    found = chosen(go_file.of_version("go1.19.8", **settings))
    assert found.sites == ()
    assert "before 1.18" in found.reason
    made = GoFile({"main.main": b"\xc3"}, told="go1.17.13")
    assert chosen(made) == Choice()


def test_a_version_that_is_not_told_costs_the_name_only() -> None:
    found = chosen(go_file.of_version("go1.26.8", told="devel"))
    assert found.library == "go crypto/tls"
    assert found.sites
