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

from services.ledgers import total_bytes, total_exchanges
from tests.bench import load
from tests.support.pipeline import Pipeline
from tests.support.workload import ROOT

SERVICES = ("parse", "collect")


class Outcome(NamedTuple):
    """How often the exchange of each number was witnessed, by either end."""

    sent: int
    by_role: dict[str, Counter[int]]
    states: Counter[str]
    seen: int
    explained: int
    exact: bool


class Plan(NamedTuple):
    """So many kills of parse or collect, at most 1.5 s apart, under so many exchanges a second.
    `scales`: there are three replicas of each in the second third, two in the last."""

    kills: int
    rate: float
    catch_up: float = 30
    scales: bool = False


def kill_at_random(line: Pipeline, folder: Path, plan: Plan) -> Outcome:
    chance = random.Random(plan.kills)
    replicas = {service: [service] for service in SERVICES}
    with load.nginx(folder) as port:
        command = ["-m", "tests.support.paced_traffic", str(port), str(plan.rate), "36000"]
        traffic = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            time.sleep(1)
            for number in range(plan.kills):
                time.sleep(chance.uniform(0.1, 1.5))
                if plan.scales:
                    _scale(line, replicas, number * 3 / plan.kills)
                service = chance.choice(SERVICES)
                name = chance.choice(replicas[service])
                line.kill(name)
                line.start(service, name)
            traffic.terminate()
            sent = int(traffic.communicate(timeout=30)[0])
        finally:
            traffic.kill()
            traffic.wait()
    line.settle(plan.catch_up)
    return _outcome(line, sent)


def _scale(line: Pipeline, replicas: dict[str, list[str]], third: float) -> None:
    for service, names in replicas.items():
        while third >= 1 and len(names) < 3 and f"{service} 3" not in line.started:
            names.append(f"{service} {len(names) + 1}")
            line.start(service, names[-1])
        if third >= 2 and len(names) == 3:
            line.terminate(names.pop(0))


def _outcome(line: Pipeline, sent: int) -> Outcome:
    by_role: dict[str, Counter[int]] = {"client": Counter(), "server": Counter()}
    states: Counter[str] = Counter()
    for stored in line.witnesses():
        witness = stored.witness
        states[witness.state] += 1
        path = witness.request.path if witness.request else None
        by_role[witness.role][int((path or "/0")[1:])] += 1
    sums = total_bytes(told.bytes for told in line.ledgers("parse") if told.bytes)
    explained = sums.parsed + sums.opaque + sum(sums.gaps.values()) + sums.shed
    exchanges = total_exchanges(t.exchanges for t in line.ledgers("collect") if t.exchanges)
    exact = exchanges.begun == exchanges.complete == sum(states.values())
    return Outcome(sent, by_role, states, sums.seen, explained, exact)


def check(outcome: Outcome) -> None:
    """Every exchange that was sent is one witness at each end, none is there twice."""
    every = dict.fromkeys(range(1, outcome.sent + 1), 1)
    assert outcome.by_role == {"client": every, "server": every}
    assert outcome.states == {"complete": 2 * outcome.sent}
    assert outcome.seen == outcome.explained
    assert outcome.exact
