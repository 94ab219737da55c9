"""What is chosen on GnuTLS, and that each byte counts once there. Bodies: tests/corpus."""

from __future__ import annotations

import pytest

from services.discovery.code import sites
from services.discovery.code.probing import Returns
from tests.support.functions import load

BUILDS = ("gnutls-3.7-debian", "gnutls-3.8-wheel")


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("uretprobes", [Returns.STILL, Returns.NEVER])
def test_every_call_that_carries_data_is_seen_at_both_ends_without_a_uretprobe(
    build: str, uretprobes: Returns
) -> None:
    chosen = sites.choose(load(build), uretprobes)
    transfers = [s for s in chosen.sites if s.operation in ("read", "write")]
    assert chosen.family == "gnutls"
    assert {s.kind for s in transfers} == {"uprobe"}
    entries = {s.function: s.abi for s in transfers if s.event == "enter"}
    assert entries == {
        "gnutls_record_recv": "returns_length",
        "gnutls_record_recv_seq": "returns_length",
        "gnutls_record_recv_early_data": "returns_length",
        "gnutls_record_recv_packet": "no_buffer",
        "gnutls_record_send2": "returns_length",  # gnutls_record_send is a jump there
        "gnutls_record_send_range": "returns_length",
        "gnutls_record_uncork": "counted_before",
    }


@pytest.mark.parametrize("build", BUILDS)
def test_calls_that_end_in_the_same_code_share_its_sites(build: str) -> None:
    chosen = sites.choose(load(build))
    places = [(s.operation, s.event, s.address) for s in chosen.sites]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("build", BUILDS)
def test_calls_that_send_through_others_are_named(build: str) -> None:
    omitted = dict(sites.choose(load(build)).omitted)
    assert set(omitted) == {"gnutls_record_send_file", "gnutls_record_send_early_data"}
    assert all("gnutls_record_send" in why for why in omitted.values())


@pytest.mark.parametrize("build", BUILDS)
def test_sessions_are_seen_made_and_ended(build: str) -> None:
    chosen = sites.choose(load(build)).sites
    objects = [(s.operation, s.event, s.abi) for s in chosen if s.abi.startswith("object")]
    assert objects == [
        ("new", "enter", "object_pointer"), ("new", "exit", "object_pointer"),
        ("free", "enter", "object"),
    ]  # fmt: skip


@pytest.mark.parametrize("uretprobes", [Returns.STILL, Returns.ALWAYS])
def test_on_arm64_what_can_not_be_proven_has_a_uretprobe_that_says_why(uretprobes: Returns) -> None:
    """Jumps out of a function are not followed there; a nested call counts once all the same."""
    chosen = sites.choose(load("gnutls-3.7-debian-arm64"), uretprobes)
    exits = [s for s in chosen.sites if s.operation in ("read", "write") and s.event == "exit"]
    assert {s.function for s in exits} == {
        "gnutls_record_recv", "gnutls_record_send", "gnutls_record_send2",
    }  # fmt: skip
    assert all(s.kind == "uretprobe" and s.fallback for s in exits)


def test_on_arm64_nothing_is_probed_where_uretprobes_kill_and_the_reason_is_said() -> None:
    chosen = sites.choose(load("gnutls-3.7-debian-arm64"), Returns.NEVER)
    assert (chosen.sites, chosen.family) == ((), "gnutls")
    assert all("no uretprobe on this kernel" in why for _, why in chosen.omitted)
