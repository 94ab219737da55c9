"""The anchor stays as it is until the clocks have drifted."""

from __future__ import annotations

from services.capture.parent.clock import DRIFT_NS, Anchor


def test_a_small_drift_leaves_the_anchor() -> None:
    anchor = Anchor(1_000, 100)
    assert anchor.measured(2_000 + DRIFT_NS, 1_100) == 900


def test_a_step_of_the_clock_moves_it() -> None:
    anchor = Anchor(1_000, 100)
    assert anchor.measured(2_001 + DRIFT_NS, 1_100) == 901 + DRIFT_NS
    assert anchor.ns == 901 + DRIFT_NS
