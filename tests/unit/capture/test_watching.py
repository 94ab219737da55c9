"""When the child is taken for blind, and when not."""

from __future__ import annotations

from services.capture.channel import Pulse
from services.capture.parent.watching import Watch


def test_a_canary_that_is_seen_again_and_again_proves_sight() -> None:
    watch = Watch(since=0.0, silence=5)
    assert not any(watch.is_blind(Pulse(True, n, n), float(n)) for n in range(100))


def test_a_canary_that_is_sent_and_not_seen_proves_blindness() -> None:
    watch = Watch(since=0.0, silence=5)
    assert not watch.is_blind(Pulse(True, 3, 3), 3.0)
    assert not watch.is_blind(Pulse(True, 8, 3), 8.0)
    assert watch.is_blind(Pulse(True, 9, 3), 8.5)


def test_where_it_cannot_be_seen_nothing_is_proven() -> None:
    watch = Watch(since=0.0, silence=5)
    assert not watch.is_blind(Pulse(False, 0, 0), 100.0)
    assert not watch.is_blind(Pulse(True, 1, 0), 104.0)
    assert watch.is_blind(Pulse(True, 6, 0), 106.0)
