"""The reference model of the stage with many more examples, and longer ones."""

from __future__ import annotations

import argparse

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.shared.test_stage_model import Replicas


def run(given: argparse.Namespace) -> None:
    run_state_machine_as_test(
        Replicas,
        settings=settings(
            max_examples=given.examples,
            stateful_step_count=60,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
