"""What is lost is in the ledger, with reason and size: a ring that is full, a workload that is
killed with its last bytes lost, a capture that is killed. Sums are held against the bytes that the
client counted itself: the server saw the same bytes, so capture saw each twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.messages import BytesLedger
from tests.support import leftovers, pipeline, plans, workload
from tests.support.pipeline import Pipeline

KIB = 1024


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Pipeline]:
    with leftovers.none_left("losses"), pipeline.running(tmp_path / "line") as running:
        yield running


@pytest.fixture
def narrow_line(tmp_path: Path) -> Iterator[Pipeline]:
    """With a ring that is too small for what the tests send while nobody reads it."""
    with (
        leftovers.none_left("narrow"),
        pipeline.running(tmp_path / "line", PLAINWIRE_CAPTURE_RING_MIB="1") as running,
    ):
        yield running


def _bytes_ledger(line: Pipeline) -> BytesLedger:
    found = line.ledger("parse").bytes
    assert found is not None
    assert found.seen == (
        found.parsed + found.opaque + sum(found.gaps.values()) + found.shed + found.in_flight
    )
    return found


def _large(name: str, count: int) -> list[plans.Planned]:
    """`count` requests that carry 200 KiB each, echoed."""
    body = bytes(200 * KIB)
    return [
        plans.Planned(f"{name}-{n}", "POST", f"/echo/{n}", [("x-request-id", f"{name}-{n}")], body)
        for n in range(count)
    ]


def test_full_rings_lose_bytes_that_are_all_counted(narrow_line: Pipeline, tmp_path: Path) -> None:
    with workload.serving(tmp_path) as server:
        narrow_line.send("capture", signal.SIGSTOP)
        client = workload.start_client("http_client", server, tmp_path, _large("full", 150))
        client.finished()
        narrow_line.send("capture", signal.SIGCONT)
        narrow_line.settle()
    narrow_line.settle()

    ledger = _bytes_ledger(narrow_line)
    assert ledger.seen == 2 * client.counted()
    # Nearly all is shed: connections go before the rings are so full that they refuse.
    assert ledger.shed + ledger.gaps.get("ring_full", 0) > 10 * KIB * KIB
    assert ledger.in_flight == 0
    exchanges = narrow_line.ledger("collect").exchanges
    assert exchanges is not None
    assert exchanges.open == 0
    assert exchanges.begun == exchanges.complete + sum(exchanges.partial.values())


def test_the_lost_tail_of_a_killed_workload_is_counted(
    narrow_line: Pipeline, tmp_path: Path
) -> None:
    """Nothing of these connections follows that could tell of the loss: their end must."""
    with workload.serving(tmp_path) as server:
        narrow_line.send("capture", signal.SIGSTOP)
        client = workload.start_client("http_client_holding", server, tmp_path, _large("tail", 150))
        counted = client.counted()
        client.process.kill()
        client.process.wait()
        server.process.kill()
        server.process.wait()
        narrow_line.send("capture", signal.SIGCONT)
        narrow_line.settle()

    ledger = _bytes_ledger(narrow_line)
    assert ledger.seen == 2 * counted
    assert ledger.shed + ledger.gaps.get("ring_full", 0) > 10 * KIB * KIB
    assert ledger.in_flight == 0


def test_a_workload_killed_in_a_request_leaves_nothing_in_flight(
    line: Pipeline, tmp_path: Path
) -> None:
    """The server holds its answer back, so the client is killed while it waits."""
    waiting = plans.plan("killed", 2, "&together=3")
    with workload.serving(tmp_path) as server:
        client = workload.start_client("http_client", server, tmp_path, waiting)
        witnessed = _wait_for_seen(line, 1)
        client.process.kill()
        client.process.wait()
    line.settle()

    ledger = _bytes_ledger(line)
    assert ledger.seen >= witnessed
    assert (ledger.in_flight, ledger.gaps) == (0, {})
    stored = line.witnesses("killed")
    assert {(s.witness.role, s.witness.state) for s in stored} == {
        ("client", "no_response"),
        ("server", "no_response"),
    }
    exchanges = line.ledger("collect").exchanges
    assert exchanges is not None
    assert (exchanges.begun, exchanges.open) == (2, 0)


def _wait_for_seen(line: Pipeline, at_least: int) -> int:
    deadline = time.monotonic() + pipeline.SETTLE_SECONDS
    while True:
        line.settle()
        seen = _bytes_ledger(line).seen
        if seen >= at_least:
            return seen
        assert time.monotonic() < deadline, line.logs()


def test_a_killed_capture_is_an_interval_with_bytes_unknown(line: Pipeline, tmp_path: Path) -> None:
    with workload.serving(tmp_path) as server:
        workload.start_client("http_client", server, tmp_path, plans.plan("before")).finished()
        line.settle()
        line.kill("capture")
        gone = time.time_ns()
        workload.start_client("http_client", server, tmp_path, plans.plan("during")).finished()
        back = time.time_ns()
        line.start("capture")
        line.wait_attached(pipeline.system_libssl())
        workload.start_client("http_client", server, tmp_path, plans.plan("after")).finished()
    line.settle()

    ids = [pipeline.request_id(s.witness) for s in line.witnesses()]
    expected = [p.id for name in ("before", "after") for p in plans.plan(name)]
    assert sorted(ids) == sorted(expected * 2)
    ledger = _bytes_ledger(line)
    assert ledger.in_flight == 0
    (unknown,) = ledger.unknown
    assert unknown.node == pipeline.NODE
    assert unknown.from_ns <= gone < back <= unknown.to_ns
