"""Real captured traffic while parse and collect are killed at random, and what came of it: for the
e2e test in short and for soak at length."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.bench import load
from tests.support.pipeline import Pipeline
from tests.support.workload import ROOT


class Outcome(NamedTuple):
    """How often the exchange of each number was witnessed, by either end."""

    sent: int
    by_role: dict[str, Counter[int]]
    states: Counter[str]
    seen: int
    explained: int
    exact: bool


def kill_at_random(
    line: Pipeline, folder: Path, kills: int, rate: float, catch_up: float = 30
) -> Outcome:
    """So many kills of parse or collect, at most 1.5 s apart, under so many exchanges a second."""
    chance = random.Random(kills)
    with load.nginx(folder) as port:
        command = ["-m", "tests.support.paced_traffic", str(port), str(rate), "36000"]
        traffic = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        time.sleep(1)
        for _ in range(kills):
            time.sleep(chance.uniform(0.1, 1.5))
            service = chance.choice(("parse", "collect"))
            line.kill(service)
            line.start(service)
        traffic.terminate()
        sent = int(traffic.communicate(timeout=30)[0])
    line.settle(catch_up)
    return _outcome(line, sent)


def _outcome(line: Pipeline, sent: int) -> Outcome:
    by_role: dict[str, Counter[int]] = {"client": Counter(), "server": Counter()}
    states: Counter[str] = Counter()
    for stored in line.witnesses():
        witness = stored.witness
        states[witness.state] += 1
        path = witness.request.path if witness.request else None
        by_role[witness.role][int((path or "/0")[1:])] += 1
    sums = line.ledger("parse").bytes
    assert sums is not None
    explained = sums.parsed + sums.opaque + sum(sums.gaps.values()) + sums.shed
    exchanges = line.ledger("collect").exchanges
    assert exchanges is not None
    exact = exchanges.begun == exchanges.complete == sum(states.values())
    return Outcome(sent, by_role, states, sums.seen, explained, exact)


def check(outcome: Outcome) -> None:
    """Every exchange that was sent is one witness at each end, none is there twice."""
    every = dict.fromkeys(range(1, outcome.sent + 1), 1)
    assert outcome.by_role == {"client": every, "server": every}
    assert outcome.states == {"complete": 2 * outcome.sent}
    assert outcome.seen == outcome.explained
    assert outcome.exact
