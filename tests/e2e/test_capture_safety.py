"""What must not happen to the machine that is looked at. The long forms are scripts/soak's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.soak import harmless
from tests.support.capturing import ROOT
from tests.support.tls_builds import build

KILLS, CYCLES = 4, 20
PRIVATE_STACK = 64  # bytes: a program with as many has one stack a CPU since Linux 6.13


def test_no_program_s_stack_is_one_that_preemption_breaks() -> None:
    command = [sys.executable, "-m", "tests.support.verifier"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60).stdout
    depths = json.loads(printed)
    assert len(depths) > 10
    assert {name: depth for name, depth in depths.items() if depth >= PRIVATE_STACK} == {}


async def test_after_kills_no_probe_remains_and_targets_live(tmp_path: Path) -> None:
    made = build("host", tmp_path / "build")
    await harmless.kill_again_and_again(made, tmp_path, KILLS)


async def test_attaching_and_detaching_leaks_nothing(tmp_path: Path) -> None:
    made = build("host", tmp_path / "build")
    await harmless.attach_and_detach(made, tmp_path, CYCLES)
