"""Parse and collect killed at random, and added and removed, while real traffic is captured: one
witness an exchange and end."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support import killing, pipeline

MEMORY = "/dev/shm"  # an old server then keeps all witnesses
CATCH_UP_SECONDS = 240  # for a backlog of the time in which nobody read


def run(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        line_folder = Path(folder) / "line"
        with pipeline.running(line_folder, PLAINWIRE_NATS_STORE_IN_MEMORY="true") as line:
            plan = killing.Plan(given.kills, given.rate, CATCH_UP_SECONDS, scales=True)
            outcome = killing.kill_at_random(line, Path(folder), plan)
        sys.stdout.write(f"{given.kills} kills, {outcome.sent} exchanges, {outcome.states}\n")
        killing.check(outcome)
