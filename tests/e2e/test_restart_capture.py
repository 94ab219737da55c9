"""Parse and collect are killed while real traffic is captured; discovery and capture too. In short:
scripts/soak does it fifty times at 500 exchanges a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import killing, leftovers, pipeline, plans, workload
from tests.support.pipeline import Pipeline


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Pipeline]:
    with leftovers.none_left("restart"), pipeline.running(tmp_path / "line") as running:
        yield running


def test_kills_of_parse_and_collect_lose_and_double_nothing(line: Pipeline, tmp_path: Path) -> None:
    killing.check(killing.kill_at_random(line, tmp_path, killing.Plan(kills=6, rate=100)))


def test_discovery_may_die_and_capture_goes_on(line: Pipeline, tmp_path: Path) -> None:
    line.kill("discovery")
    planned = plans.plan("orphan")
    with workload.serving(tmp_path) as server:
        workload.start_client("http_client", server, tmp_path, planned).finished()
    line.settle()
    stored = [s for s in line.witnesses("orphan") if s.witness.role == "client"]
    assert [pipeline.request_id(s.witness) for s in stored] == [p.id for p in planned]
    line.start("discovery")
    deadline = time.monotonic() + 10
    while not line.coverage().attached:
        assert time.monotonic() < deadline
    line.wait_attached(pipeline.system_libssl())
