"""The controller of the admitted share: the thermostat's table, and answers to an excess."""

from __future__ import annotations

import pytest

from services.capture.parent.shedding import (
    COOLDOWN,
    FLOOR,
    HIGH_SECONDS,
    LOW_SECONDS,
    SETTLING,
    TORN_SECONDS,
    WHOLE,
    Average,
    Backlog,
    Controller,
    Sample,
    is_too_much,
    of_class,
    thermostat,
)

# Spec facts 2.1.8, row by row; the cap of bytes is a share of WHOLE.
ROWS = [
    (16384, False, (60, 10), (60, 30), 8192),
    (64, False, (90, 10), (90, 30), 64),
    (4096, False, (10, 10), (10, 30), 8192),
    (16384, False, (5, 10), (5, 30), 16384),
    (16384, True, (90, 10), (90, 30), 16384),
    (4096, True, (5, 10), (5, 30), 4096),
    (16384, False, (90, 4), (90, 4), 16384),
    (4096, False, (5, 10), (5, 12), 4096),
    (8192, False, (40, 10), (40, 30), 8192),
]


@pytest.mark.parametrize(("share", "cooling", "high", "low", "wanted"), ROWS)
def test_the_thermostat_s_table(
    share: int, cooling: bool, high: tuple[int, int], low: tuple[int, int], wanted: int
) -> None:
    found = thermostat(share, Average(*high), Average(*low), cooling=cooling)
    assert found == wanted


def run(controller: Controller, sample: Sample, seconds: int) -> list[int]:
    return [controller.second(sample) for _ in range(seconds)]


def test_a_lasting_load_halves_the_share_once_a_cooldown_and_never_below_the_floor() -> None:
    controller = Controller()
    shares = run(controller, Sample(load=80), 300)
    assert shares[HIGH_SECONDS - 2] == WHOLE
    assert shares[HIGH_SECONDS - 1] == WHOLE // 2
    assert shares[HIGH_SECONDS + COOLDOWN - 1] == WHOLE // 4
    assert shares[-1] == FLOOR


def test_a_lasting_calm_doubles_it_up_to_the_whole() -> None:
    controller = Controller(share=WHOLE // 4)
    shares = run(controller, Sample(load=5), 200)
    assert shares[LOW_SECONDS - 2] == WHOLE // 4
    assert shares[LOW_SECONDS - 1] == WHOLE // 2
    assert shares[-1] == WHOLE


def test_bytes_beyond_the_rate_are_answered_at_once_in_proportion() -> None:
    controller = Controller(most=100.0)
    share = controller.second(Sample(load=1, admitted=400.0))
    assert share == pytest.approx(WHOLE * 0.9 / 4, rel=0.01)


def test_an_answer_has_time_to_show_before_the_next_one() -> None:
    controller = Controller(most=100.0)
    shares = run(controller, Sample(load=1, admitted=200.0), SETTLING + 1)
    assert len(set(shares[:SETTLING])) == 1
    assert shares[SETTLING] < shares[0]


def test_nothing_is_raised_while_the_rate_is_near_its_limit() -> None:
    controller = Controller(most=100.0, share=WHOLE // 2)
    assert set(run(controller, Sample(load=1, admitted=70.0), 100)) == {WHOLE // 2}


def test_a_backlog_that_is_read_too_slowly_is_cut_to_the_pace_at_which_it_is_read() -> None:
    slow = Backlog(fill=0.3, lag=6.0, pace=0.09)
    controller = Controller()
    run(controller, Sample(load=1), 10)
    shares = run(controller, Sample(load=1, backlogs=(slow,)), 4)
    assert shares[0] == int(WHOLE * 0.7 * 0.09)
    assert set(shares) == {shares[0]}, "one answer is enough while the old share is being read"


def test_what_was_let_in_under_a_lower_share_and_is_still_too_much_is_cut_again() -> None:
    controller = Controller()
    run(controller, Sample(load=1, backlogs=(Backlog(0.3, 6.0, 0.09),)), 60)
    share = controller.second(Sample(load=1, backlogs=(Backlog(0.3, 6.0, 0.05),)))
    assert share == int(controller.share) < WHOLE * 0.7 * 0.09 / 10


@pytest.mark.parametrize(
    ("backlog", "wanted"),
    [
        (Backlog(fill=0.01, lag=100.0, pace=0.1), False),
        (Backlog(fill=0.3, lag=2.0, pace=0.01), False),
        (Backlog(fill=0.3, lag=20.0, pace=0.9), False),
        (Backlog(fill=0.3, lag=20.0, pace=0.3), True),
        (Backlog(fill=0.3, lag=20.0, pace=0.0), False),
        (Backlog(fill=0.6, lag=5.0, pace=0.0), True),
        (Backlog(fill=0.6, lag=5.0, pace=1.5), False),
    ],
    ids=["small", "young", "soon read", "late", "its reader restarts", "half full", "shrinking"],
)
def test_a_backlog_is_too_much_where_its_limits_would_tear_it(
    backlog: Backlog, wanted: bool
) -> None:
    assert is_too_much(backlog) == wanted


def test_what_the_rings_refuse_for_a_minute_lowers_the_share() -> None:
    controller = Controller()
    sample = Sample(load=30, seen=1000.0, torn=11.0)
    assert controller.second(sample) == WHOLE // 2
    fine = Controller()
    assert run(fine, Sample(load=30, seen=1000.0, torn=9.0), TORN_SECONDS)[-1] == WHOLE


@pytest.mark.parametrize(
    ("share", "own", "priority", "wanted"),
    [
        (WHOLE, WHOLE, "normal", WHOLE),
        (WHOLE // 2, WHOLE, "high", WHOLE),
        (WHOLE // 8, WHOLE, "high", WHOLE // 2),
        (WHOLE, WHOLE, "low", WHOLE),
        (WHOLE // 2, WHOLE, "low", WHOLE // 8),
        (FLOOR, WHOLE, "low", FLOOR),
        (WHOLE, WHOLE // 8, "high", WHOLE // 8),
    ],
)
def test_a_class_gets_its_weight_of_the_share_within_its_own(
    share: int, own: int, priority: str, wanted: int
) -> None:
    assert of_class(share, own, priority) == wanted  # type: ignore[arg-type]
