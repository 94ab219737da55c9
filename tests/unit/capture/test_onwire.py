"""What is kept of processes that were seen on the wire, and for how long."""

from __future__ import annotations

import msgspec

from services.capture.channel import OnWire
from services.capture.parent import onwire
from services.capture.parent.onwire import Facts
from services.lifetimes import KEPT_NS
from services.messages import CoverageEntry, TlsProcess

LATE = 10**12
APP = OnWire(pid=7, start_boot_ns=5, process="app", executable="/bin/app", tcp=True)


def heard(*found: OnWire) -> Facts:
    facts = Facts()
    facts.hear(found, lambda pid: "", 100)
    return facts


def test_the_first_sight_stays_the_first_while_more_is_learnt() -> None:
    facts = heard(APP)
    facts.hear([msgspec.structs.replace(APP, quic=True)], lambda pid: "", 200)
    assert (facts.by_pid[7].since_ns, facts.by_pid[7].told.quic) == (100, True)
    facts.hear([msgspec.structs.replace(APP, start_boot_ns=6)], lambda pid: "", 300)
    assert facts.by_pid[7].since_ns == 300


def test_a_process_that_ended_is_kept_for_a_minute() -> None:
    facts = heard(APP)
    facts.check(lambda pid, start: True, 200)
    assert not facts.by_pid[7].ended_ns
    facts.check(lambda pid, start: False, 300)
    assert facts.by_pid[7].ended_ns == 300
    facts.check(lambda pid, start: False, 301 + KEPT_NS)
    assert not facts.by_pid


def test_discovery_is_told_again_until_it_names_the_process() -> None:
    facts = heard(APP)
    assert facts.unnamed((), 101) == ()  # it was told just now
    (told,) = facts.unnamed((), LATE)
    assert (told.pid, told.kind, told.executable) == (7, "tls_on_wire", "/bin/app")
    named = TlsProcess(pid=7, start_boot_ns=5, process="app", seen_on_wire=True)
    assert facts.unnamed([named], 2 * LATE) == ()
    assert len(facts.unnamed([msgspec.structs.replace(named, seen_on_wire=False)], 3 * LATE)) == 1
    assert len(facts.unnamed([msgspec.structs.replace(named, start_boot_ns=10**9)], 4 * LATE)) == 1


def test_who_stays_unnamed_is_told_ever_more_seldom() -> None:
    facts, second = heard(APP), 1_000_000_000
    told = [n for n in range(1, 200) if facts.unnamed((), 100 + n * second)]
    assert told == [1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192]


def test_who_was_named_and_is_no_more_is_told_at_once() -> None:
    facts = heard(APP)
    for n in range(1, 5):
        facts.unnamed((), n * LATE)
    named = TlsProcess(pid=7, start_boot_ns=5, process="app", seen_on_wire=True)
    assert facts.unnamed([named], 4 * LATE + 1) == ()
    assert len(facts.unnamed((), 4 * LATE + 2)) == 1


def test_a_path_that_opens_nothing_is_not_told() -> None:
    longest = "/" * onwire.MAX_PATH
    for path, told in ((longest, longest), (longest + "/", "")):
        assert onwire.sighting(msgspec.structs.replace(APP, executable=path)).executable == told


def test_facts_are_bounded_and_those_forgotten_counted() -> None:
    many = (msgspec.structs.replace(APP, pid=pid) for pid in range(onwire.MAX_FACTS + 2))
    facts = heard(*many)
    assert (len(facts.by_pid), facts.evicted) == (onwire.MAX_FACTS, 2)


def test_what_was_told_of_the_living_is_remembered_and_nothing_pending() -> None:
    facts, entry = heard(APP), CoverageEntry(pid=7, process="app", state="partly")
    facts.remember([msgspec.structs.replace(entry, pending=True)])
    assert facts.by_pid[7].entry is None
    facts.remember([entry])
    facts.check(lambda pid, start: False, 300)
    facts.remember([msgspec.structs.replace(entry, state="not_captured")])
    assert facts.by_pid[7].entry == entry
