"""Which processes are worth a look. Not: how mappings are heard of."""

from __future__ import annotations

import itertools

import pytest

from services.capture.child import novelty
from services.capture.child.novelty import Novelty

LIBSSL, LIBC = b"libssl", b"libc"


def test_a_file_that_is_new_is_news_and_soon_after_it_is_not() -> None:
    known = Novelty()
    assert known.receive([(1, LIBC), (1, LIBSSL)], 0) == [1]
    assert known.receive([(2, LIBC), (2, LIBSSL)], 0.1) == []
    assert known.receive([(3, b"another")], 0.1) == [3]


def test_a_known_file_is_news_again_ever_more_seldom() -> None:
    known = Novelty()
    times = [t / 10 for t in range(3000) if known.receive([(1, LIBC)], t / 10)]
    pauses = [later - before for before, later in itertools.pairwise(times)]
    assert pauses[0] == pytest.approx(novelty.FIRST_PAUSE, abs=0.11)
    assert all(later >= 1.9 * before for before, later in itertools.pairwise(pauses))
    assert len(times) < 12


def test_no_file_is_silent_for_ever() -> None:
    known, now, last = Novelty(), 0.0, 0.0
    for _ in range(40):
        while not known.receive([(1, LIBC)], now):
            now += 10
        assert now - last <= novelty.LONGEST_PAUSE + 10
        last = now


def test_too_many_at_once_are_refused_and_counted() -> None:
    known = Novelty()
    many = [(n, n.to_bytes(4, "little")) for n in range(1000)]
    granted = known.receive(many, 0)
    assert len(granted) == novelty.BURST
    assert known.refused == 1000 - len(granted)
    assert len(known.receive([(n, f"{n}".encode()) for n in range(1000)], 1)) == novelty.PER_SECOND


def test_what_is_remembered_is_bounded() -> None:
    known = Novelty()
    for n in range(novelty.MAX_FILES + 10):
        known.receive([(1, n.to_bytes(4, "little"))], n)
    assert len(known._files) == novelty.MAX_FILES


def test_a_file_that_is_not_probed_any_more_is_news_again_whatever_device_it_shows() -> None:
    known = Novelty()
    file = bytes(8) + (77).to_bytes(8, "little") + bytes(8)
    other = bytes(8) + (78).to_bytes(8, "little") + bytes(8)
    elsewhere = b"\1" * 8 + file[8:]
    known.receive([(1, file), (1, other), (1, elsewhere)], 0)
    known.forget(77)
    assert known.receive([(2, file)], 0.1) == [2]
    assert known.receive([(3, elsewhere)], 0.1) == [3]
    assert known.receive([(4, other)], 0.1) == []
