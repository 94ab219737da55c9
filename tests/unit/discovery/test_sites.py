"""What is chosen on real builds of OpenSSL, and that it is safe there. Bodies: tests/corpus."""

from __future__ import annotations

import pytest

from services.discovery import sites
from services.discovery.disassembly import Body, Listing
from services.discovery.elf import AARCH64
from services.messages import Site
from tests.support.functions import RecordedImage, load

BUILDS = ("openssl-1.1-wheel", "openssl-3.0-debian", "openssl-3.0-node", "openssl-3.5-wheel")


def transfers(chosen: tuple[Site, ...]) -> list[tuple[str, str, str, str]]:
    return [
        (site.function, site.event, site.kind, site.cost)
        for site in chosen
        if site.operation in ("read", "write")
    ]


def shared(names: str) -> list[tuple[str, str, str, str]]:
    return [
        (f"{names} -> internal", "enter", "uprobe", "emulated"),
        (f"{names} -> internal", "exit", "uretprobe", "uretprobe"),
    ]


@pytest.mark.parametrize("build", ["openssl-1.1-wheel", "openssl-3.0-debian"])
def test_two_traps_in_the_internal_function_serve_a_family(build: str) -> None:
    expected = shared("SSL_read+SSL_read_ex") + shared("SSL_write+SSL_write_ex")
    assert transfers(sites.choose(load(build))) == expected


def test_functions_that_share_nothing_are_probed_each_at_their_push() -> None:
    expected = [
        row
        for name in ("SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex")
        for row in ((name, "enter", "uprobe", "emulated"), (name, "exit", "uretprobe", "uretprobe"))
    ]
    assert transfers(sites.choose(load("openssl-3.0-node"))) == expected


def test_an_internal_function_with_its_pointer_elsewhere_is_not_used() -> None:
    """OpenSSL 3.3 added flags before the pointer, and SSL_write_ex2 between: no proof, no guess."""
    chosen = transfers(sites.choose(load("openssl-3.5-wheel")))
    assert chosen[:2] == shared("SSL_read+SSL_read_ex")
    assert [row[0] for row in chosen[2:]] == ["SSL_write"] * 2 + ["SSL_write_ex"] * 2


@pytest.mark.parametrize("build", BUILDS)
def test_objects_are_seen_made_cleared_and_freed(build: str) -> None:
    chosen = sites.choose(load(build))
    objects = [(s.operation, s.event) for s in chosen if s.abi == "object"]
    assert objects == [("new", "exit"), ("clear", "enter"), ("free", "enter")]


@pytest.mark.parametrize("build", BUILDS)
def test_whatever_is_not_emulated_says_why(build: str) -> None:
    for site in sites.choose(load(build)):
        assert bool(site.fallback) == (site.cost != "emulated")


@pytest.mark.parametrize("build", BUILDS)
def test_every_site_is_an_instruction_of_its_cost(build: str) -> None:
    image = load(build)
    for site in sites.choose(image):
        listing = Listing(body_of(image, site))
        instruction = listing.instructions[site.address]
        assert listing.emulated(instruction) == (site.cost != "single_step")


@pytest.mark.parametrize("build", BUILDS)
def test_a_return_is_only_replaced_where_the_return_address_is_on_top(build: str) -> None:
    for site in sites.choose(load(build)):
        if site.kind == "uretprobe":
            assert site.frame == -8


def body_of(image: RecordedImage, site: Site) -> Body:
    body = image.around(site.address)
    assert body is not None
    return body


def test_a_uretprobe_shares_the_trap_of_the_entry() -> None:
    chosen = sites.choose(load("openssl-3.0-debian"))
    reads = [site for site in chosen if site.operation == "read"]
    assert sites.cost(reads) == sites.EMULATED + sites.URETPROBE


def test_a_library_without_ssl_write_has_no_sites() -> None:
    image = load("openssl-3.0-debian")
    found = {n: b for n in ("SSL_read", "SSL_read_ex") if (b := image.named(n)) is not None}
    assert sites.choose(RecordedImage(image.machine, found, [])) == ()


def test_other_machines_get_entry_and_return_at_the_first_byte() -> None:
    image = load("openssl-3.0-debian")
    image.machine = AARCH64
    chosen = sites.choose(image)
    assert {(s.event, s.kind) for s in chosen} == {("enter", "uprobe"), ("exit", "uretprobe")}
    assert {s.fallback for s in chosen} == {"not an x86-64 file"}


def test_without_extended_calls_each_function_is_probed_by_itself() -> None:
    image = load("openssl-3.0-debian")
    old = {n: b for n in ("SSL_read", "SSL_write") if (b := image.named(n)) is not None}
    parts = [body for body in (image.around(0x35290), image.around(0x355A0)) if body is not None]
    chosen = sites.choose(RecordedImage(image.machine, old, parts))
    assert transfers(chosen) == [
        (name, event, "uprobe", "emulated")
        for name in ("SSL_read", "SSL_write")
        for event in ("enter", "exit")
    ]
    assert [site.frame for site in chosen] == [0x18] * 4
