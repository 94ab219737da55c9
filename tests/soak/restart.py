"""Parse and collect killed at random while real traffic is captured: one witness an exchange."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support import killing, pipeline

CATCH_UP_SECONDS = 240  # for a backlog of the time in which nobody read


def run(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with pipeline.running(Path(folder) / "line") as line:
            outcome = killing.kill_at_random(
                line, Path(folder), given.kills, given.rate, catch_up=CATCH_UP_SECONDS
            )
        sys.stdout.write(f"{given.kills} kills, {outcome.sent} exchanges, {outcome.states}\n")
        killing.check(outcome)
