"""What is chosen on real builds of OpenSSL, and that it is safe there. Bodies: tests/corpus."""

from __future__ import annotations

import pytest

from services.discovery.code import probing, sites
from services.discovery.code.disassembly import Body, Listing
from services.discovery.code.probing import Returns
from services.discovery.code.sites import Choice
from services.messages import Site
from tests.support.functions import RecordedImage, load

BUILDS = (
    "openssl-1.1-older-wheel", "openssl-1.1-wheel", "openssl-3.0-debian", "openssl-3.0-node",
    "openssl-3.5-wheel",
)  # fmt: skip
RARE = {"SSL_read_early_data", "SSL_write_early_data", "SSL_sendfile"}


def transfers(chosen: Choice) -> list[tuple[str, str, str, str]]:
    """Of the calls that programs make all the time."""
    return [
        (site.function, site.event, site.kind, site.cost)
        for site in chosen.sites
        if site.operation in ("read", "write") and site.function not in RARE
    ]


def shared(names: str) -> list[tuple[str, str, str, str]]:
    return [
        (f"{names} -> internal", "enter", "uprobe", "emulated"),
        (f"{names} -> internal", "exit", "uretprobe", "uretprobe"),
    ]


@pytest.mark.parametrize("build", [build for build in BUILDS if "node" not in build])
def test_two_traps_in_the_internal_function_serve_a_family(build: str) -> None:
    expected = shared("SSL_read+SSL_read_ex") + shared("SSL_write+SSL_write_ex")
    assert transfers(sites.choose(load(build), Returns.ALWAYS)) == expected


@pytest.mark.parametrize("build", BUILDS)
def test_a_call_that_can_wait_has_no_uretprobe(build: str) -> None:
    """A program whose fibers switch within it would die."""
    for site in sites.choose(load(build)).sites:
        assert site.kind == "uprobe" or site.function == "SSL_new"


def test_where_both_are_emulated_a_call_costs_two_cheap_traps() -> None:
    chosen = transfers(sites.choose(load("openssl-3.0-debian")))
    usual = [row for row in chosen if row[0] in ("SSL_read", "SSL_write")]
    assert [row[1:] for row in usual] == [
        ("enter", "uprobe", "emulated"), ("exit", "uprobe", "emulated"),
    ] * 2  # fmt: skip


@pytest.mark.parametrize(
    ("build", "abi"),
    [("openssl-3.0-debian", "length_pointer"), ("openssl-3.5-wheel", "length_pointer_fifth")],
)
def test_the_internal_write_has_its_length_pointer_where_it_is_proven(build: str, abi: str) -> None:
    """OpenSSL 3.3 added flags before the pointer, and SSL_write_ex2 between."""
    chosen = sites.choose(load(build), Returns.ALWAYS).sites
    assert {s.abi for s in chosen if s.function == "SSL_write+SSL_write_ex -> internal"} == {abi}


@pytest.mark.parametrize("build", BUILDS)
def test_early_data_and_files_are_probed_by_themselves(build: str) -> None:
    image = load(build)
    chosen = sites.choose(image).sites
    found = {name for name in RARE if image.named(name) is not None}
    refused = dict(sites.choose(image).omitted)
    assert {site.function for site in chosen} & RARE == found - set(refused)
    assert set(refused) <= {"SSL_write_early_data"}  # which goes through SSL_write_ex
    assert {s.abi for s in chosen if s.function == "SSL_sendfile"} <= {"sent_by_kernel"}


def test_functions_that_share_nothing_are_probed_each_at_their_push() -> None:
    expected = [
        row
        for name in ("SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex")
        for row in ((name, "enter", "uprobe", "emulated"), (name, "exit", "uretprobe", "uretprobe"))
    ]
    assert transfers(sites.choose(load("openssl-3.0-node"), Returns.ALWAYS)) == expected


@pytest.mark.parametrize("build", BUILDS)
def test_objects_are_seen_made_cleared_and_freed(build: str) -> None:
    chosen = sites.choose(load(build)).sites
    objects = [(s.operation, s.event) for s in chosen if s.abi == "object"]
    assert objects == [
        ("new", "exit"), ("clear", "enter"), ("share", "enter"), ("free", "enter"),
    ]  # fmt: skip


@pytest.mark.parametrize("build", BUILDS)
def test_whatever_is_not_emulated_says_why(build: str) -> None:
    for site in sites.choose(load(build)).sites:
        assert bool(site.fallback) == (site.cost != "emulated")


@pytest.mark.parametrize("build", BUILDS)
def test_every_site_is_an_instruction_of_its_cost(build: str) -> None:
    image = load(build)
    for site in sites.choose(image).sites:
        listing = Listing(body_of(image, site))
        instruction = listing.instructions[site.address]
        assert listing.emulated(instruction) == (site.cost != "single_step")


@pytest.mark.parametrize("build", BUILDS)
def test_a_return_is_only_replaced_where_the_return_address_is_on_top(build: str) -> None:
    for site in sites.choose(load(build), Returns.ALWAYS).sites:
        if site.kind == "uretprobe":
            assert site.frame == -8


def body_of(image: RecordedImage, site: Site) -> Body:
    body = image.around(site.address)
    assert body is not None
    return body


def test_a_uretprobe_shares_the_trap_of_the_entry() -> None:
    chosen = sites.choose(load("openssl-3.0-debian"), Returns.ALWAYS).sites
    reads = [s for s in chosen if s.operation == "read" and s.function not in RARE]
    assert probing.cost(reads) == probing.EMULATED + probing.URETPROBE


def test_a_call_passes_one_ret_whatever_their_number() -> None:
    chosen = sites.choose(load("openssl-3.0-node"), Returns.NEVER).sites
    reads = [site for site in chosen if site.function == "SSL_read"]
    assert len(reads) > 3
    assert probing.cost(reads) == probing.EMULATED + probing.SINGLE_STEP


def test_boringssl_is_seen_by_what_it_has() -> None:
    """No extended calls, no early data, no owners; and what it reads by, it peeks by."""
    chosen = sites.choose(load("boringssl-crate"))
    assert chosen.family == "openssl"
    transfers = [site for site in chosen.sites if site.operation in ("read", "write")]
    assert {site.function for site in transfers} == {"SSL_read", "SSL_write"}
    assert {site.kind for site in transfers} == {"uprobe"}
    assert {(s.operation, s.event) for s in chosen.sites if s.abi == "object"} >= {
        ("new", "exit"), ("free", "enter"),
    }  # fmt: skip


def test_a_library_without_ssl_write_has_no_sites() -> None:
    image = load("openssl-3.0-debian")
    found = {n: b for n in ("SSL_read", "SSL_read_ex") if (b := image.named(n)) is not None}
    assert sites.choose(RecordedImage(image.machine, found, [])) == Choice()


def test_other_machines_get_entry_and_return_at_the_first_byte() -> None:
    image = load("openssl-3.0-debian")
    image.machine = 0
    chosen = sites.choose(image, Returns.ALWAYS).sites
    assert {(s.event, s.kind) for s in chosen} == {("enter", "uprobe"), ("exit", "uretprobe")}
    assert all(site.fallback for site in chosen)


def test_a_function_without_a_safe_exit_is_told_and_left_alone() -> None:
    chosen = sites.choose(load("openssl-3.5-wheel"), Returns.NEVER)
    omitted = dict(chosen.omitted)
    assert set(omitted) == {"SSL_write_early_data", "SSL_new"}
    assert "it leaves by an indirect jump" in omitted["SSL_new"]
    assert not any(site.function in omitted for site in chosen.sites)


def test_a_uretprobe_is_the_last_resort() -> None:
    image = load("openssl-3.0-debian")
    image.machine = 0
    chosen = transfers(sites.choose(image))
    assert {kind for _, event, kind, _ in chosen if event == "exit"} == {"uretprobe"}


def test_a_library_whose_data_cannot_be_seen_safely_has_no_sites() -> None:
    image = load("openssl-3.0-debian")
    image.machine = 0
    chosen = sites.choose(image, Returns.NEVER)
    assert chosen.sites == ()
    assert "SSL_read" in dict(chosen.omitted)


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
    assert [site.frame for site in chosen.sites] == [0x18] * 4
