"""Who was sighted on the wire, for as long as it matters."""

from __future__ import annotations

from services.discovery import wired
from services.discovery.wired import Wired
from services.lifetimes import KEPT_NS, TICK_NS
from services.messages import Sighting


def sighting(pid: int = 7, start: int = 50_000_000) -> Sighting:
    return Sighting(pid=pid, kind="tls_on_wire", start_boot_ns=start)


def test_a_sighting_is_of_one_process_and_not_of_its_pid_s_next() -> None:
    found = Wired()
    found.hear([sighting()])
    assert found.of(7, 50_000_000) == sighting()
    assert found.of(7, 50_000_000 + 2 * TICK_NS) is None
    assert found.of(8, 50_000_000) is None


def test_one_that_ended_is_kept_for_a_while() -> None:
    found = Wired()
    found.hear([sighting()])
    assert found.ended(lambda pid, start: True, 1.0) == []
    assert found.ended(lambda pid, start: False, 2.0) == [sighting()]
    assert found.ended(lambda pid, start: False, 2.0 + KEPT_NS / 1e9) == [sighting()]
    assert found.ended(lambda pid, start: False, 2.1 + KEPT_NS / 1e9) == []
    assert not found.has(7)


def test_a_pid_that_is_sighted_again_lives() -> None:
    found = Wired()
    found.hear([sighting()])
    found.ended(lambda pid, start: False, 1.0)
    found.hear([sighting(start=90_000_000)])
    assert found.ended(lambda pid, start: True, 2.0) == []


def test_sightings_are_bounded_and_those_forgotten_counted() -> None:
    found = Wired()
    found.hear(sighting(pid) for pid in range(wired.MAX_PROCESSES + 2))
    assert (len(found.pids()), found.evicted) == (wired.MAX_PROCESSES, 2)
