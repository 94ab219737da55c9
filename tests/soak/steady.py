"""Capture's memory over minutes of load: it has a bound, and does not grow."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.bench import load, overload
from tests.bench.throughput import capturing

MOST_MIB = 220
GROWTH = 1.05  # the last quarter's median to the second's
EVERY = 1.0  # seconds
RATE = 1_000


def run(given: argparse.Namespace) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        load.nginx(Path(folder)) as port,
        capturing(overload.EVERYTHING) as running,
    ):
        generate = overload.h2load(RATE)
        loading = threading.Thread(target=generate, args=(port, given.minutes * 60))
        loading.start()
        found = []
        while loading.is_alive():
            found.append(_resident(running.processes["capture"].pid))
            time.sleep(EVERY)
        running.settle(overload.SETTLE)
        ledger = running.ledger("capture").bytes
    quarter = len(found) // 4
    early, late = (statistics.median(found[n * quarter : (n + 1) * quarter]) for n in (1, 3))
    sys.stdout.write(f"steady: {early:.0f} MiB early, {late:.0f} late, {max(found):.0f} at most\n")
    assert max(found) <= MOST_MIB, f"{max(found):.0f} MiB"
    assert late <= early * GROWTH, f"grew from {early:.0f} to {late:.0f} MiB"
    assert ledger is not None
    assert ledger.in_flight == 0
    assert not ledger.gaps, ledger.gaps


def _resident(pid: int) -> float:
    """MiB of the process and what descends from it; memory that they share counts once."""
    return sum(_proportional(one) for one in (pid, *_descendants(pid))) / 1024


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in map(int, children) for found in (child, *_descendants(child))]


def _proportional(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
