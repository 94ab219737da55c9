"""Back-off and breaker of capture's child."""

from __future__ import annotations

from services.capture.parent.restarts import FIRST, LONGEST, RATE_OVER, STEADY, Restarts


def test_pauses_grow_up_to_a_limit() -> None:
    restarts = Restarts(most=20)
    pauses = [restarts.failed(now=float(n), lived=1) for n in range(10)]
    assert pauses[:3] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert pauses[-1] == LONGEST


def test_the_breaker_opens_after_failures_in_a_row_and_closes_after_a_steady_life() -> None:
    restarts = Restarts(most=3, cool=100)
    assert [restarts.failed(float(n), lived=1) for n in range(3)][-1] == 100
    assert restarts.broken
    assert not restarts.steady(STEADY - 1)
    assert restarts.steady(STEADY)
    assert not restarts.broken
    assert not restarts.steady(STEADY)


def test_a_long_life_before_a_failure_makes_it_the_first_again() -> None:
    restarts = Restarts(most=3)
    restarts.failed(0, lived=1)
    restarts.failed(1, lived=1)
    assert restarts.failed(100, lived=STEADY) == FIRST


def test_the_rate_counts_the_last_ten_minutes() -> None:
    restarts = Restarts()
    for at in (0.0, 100.0, RATE_OVER + 50):
        restarts.failed(at, lived=1)
    assert restarts.rate(RATE_OVER + 60) == 2
    assert restarts.total == 3
