"""What is looked at next: what was sighted, or all."""

from __future__ import annotations

import time

import msgspec

from services.discovery import hints
from services.discovery.hints import Hints
from services.messages import Sighting, Sightings


def told(*pids: int) -> bytes:
    sightings = tuple(Sighting(pid=pid) for pid in pids)
    return msgspec.json.encode(Sightings(node="n", sightings=sightings))


async def test_sightings_since_the_last_look_come_together() -> None:
    heard = Hints()
    heard.hear(told(1, 2))
    heard.hear(told(2, 3))
    assert await heard.wait(time.monotonic() + 60) == {1, 2, 3}
    heard.hear(told(4))
    assert await heard.wait(time.monotonic() + 60) == {4}


async def test_without_a_sighting_all_is_due() -> None:
    assert await Hints().wait(time.monotonic()) is None


async def test_a_hint_that_names_nobody_asks_for_all() -> None:
    for payload in (b"{}", b"no JSON", told()):
        heard = Hints()
        heard.hear(told(1))
        heard.hear(payload)
        assert await heard.wait(time.monotonic() + 60) is None


async def test_too_many_are_a_scan_of_all() -> None:
    heard = Hints()
    heard.hear(told(*range(1, hints.MOST + 2)))
    assert await heard.wait(time.monotonic() + 60) is None


def test_wire_sightings_are_bounded_and_those_left_out_counted() -> None:
    heard = Hints()
    for first in (0, hints.MOST):
        pids = range(first, first + hints.MOST - 100)
        wired = tuple(Sighting(pid=pid, kind="tls_on_wire") for pid in pids)
        heard.hear(msgspec.json.encode(Sightings(node="n", sightings=wired)))
    found = heard.wired()
    assert len(found) == hints.MOST
    assert found[-1].pid == 2 * hints.MOST - 101
    assert heard.wired_dropped == hints.MOST - 200


async def test_what_was_sighted_on_the_wire_is_handed_over_once() -> None:
    heard = Hints()
    wired = Sighting(pid=3, kind="tls_on_wire", process="app")
    heard.hear(told(1))
    heard.hear(msgspec.json.encode(Sightings(node="n", sightings=(wired,))))
    assert heard.wired() == [wired]
    assert heard.wired() == []
    assert await heard.wait(time.monotonic() + 60) == {1, 3}
