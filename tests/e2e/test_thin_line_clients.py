"""The main job: what real clients and a real TLS server exchange becomes witnesses, one on each
side, equal to what both ends wrote down. Losses and failures are in test_thin_line_losses.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services import subjects
from tests.support import comparing, leftovers, pipeline, plans, workload
from tests.support.pipeline import Pipeline, Stored
from tests.support.plans import Exchanged

PROTOCOLS = {
    "curl_http1": "http/1.1",
    "curl_http2": "http/2",
    "http_client": "http/1.1",
    "aiohttp": "http/1.1",
    "httpx_http2": "http/2",
}
PROCESSES = {"curl_http1": "curl", "curl_http2": "curl"}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with (
        leftovers.none_left("clients"),
        pipeline.running(tmp_path_factory.mktemp("line")) as running,
    ):
        yield running


def _of_role(stored: list[Stored], role: str) -> list[Stored]:
    return [s for s in stored if s.witness.role == role]


def _check_all(stored: list[Stored], truth: list[Exchanged], authority: str) -> None:
    """Every exchange once, on its own; order is the caller's matter."""
    by_id = {pipeline.request_id(s.witness): s for s in stored}
    assert len(stored) == len(by_id) == len(truth)
    for exchanged in truth:
        comparing.check(by_id[exchanged.id].witness, exchanged, authority)


@pytest.mark.parametrize("client", workload.CLIENTS)
def test_every_request_is_witnessed_on_both_sides(
    client: str, line: Pipeline, tmp_path: Path
) -> None:
    planned = plans.plan(f"{client}-one")
    with workload.serving(tmp_path) as server:
        got = workload.start_client(client, server, tmp_path, planned).finished()
        truth = comparing.merged(got, server.exchanged())
    line.settle()

    stored = line.witnesses(f"{client}-one")
    for role in ("client", "server"):
        ours = _of_role(stored, role)
        assert [pipeline.request_id(s.witness) for s in ours] == [p.id for p in planned]
        _check_all(ours, truth, f"127.0.0.1:{server.port}")
        assert len({s.witness.connection.id for s in ours}) == 1
        assert {s.witness.protocol for s in ours} == {PROTOCOLS[client]}
    assert {s.witness.source.process for s in _of_role(stored, "client")} == {
        PROCESSES.get(client, "python")
    }


@pytest.mark.parametrize("client", workload.CLIENTS)
def test_fifty_connections_at_once_are_kept_apart(
    client: str, line: Pipeline, tmp_path: Path
) -> None:
    planned = [plans.plan(f"{client}-many{n:02}", 5, "&together=50") for n in range(50)]
    with workload.serving(tmp_path) as server:
        got = workload.start_client(client, server, tmp_path, *planned).finished()
        truth = comparing.merged(got, server.exchanged())
    line.settle()

    stored = line.witnesses(f"{client}-many")
    for role in ("client", "server"):
        ours = _of_role(stored, role)
        _check_all(ours, truth, f"127.0.0.1:{server.port}")
        connections: dict[str, list[str]] = {}
        for s in ours:
            found = connections.setdefault(s.witness.connection.id, [])
            found.append(pipeline.request_id(s.witness))
        assert sorted(connections.values()) == [[p.id for p in plan] for plan in planned]


def test_the_ledger_balances_and_nothing_is_stored_twice(line: Pipeline) -> None:
    """After all of the above: every byte is parsed, every exchange complete."""
    line.settle()
    ledger = line.ledger("parse").bytes
    assert ledger is not None
    assert ledger.seen == ledger.parsed + ledger.opaque + sum(ledger.gaps.values()) + ledger.shed
    assert (ledger.in_flight, ledger.gaps, ledger.shed, ledger.opaque) == (0, {}, 0, 0)
    assert ledger.seen > 0

    stored = line.witnesses()
    ids = [f"{s.witness.id}/{s.witness.part}" for s in stored]
    assert len(ids) == len(set(ids))
    assert [s.headers["Nats-Msg-Id"] for s in stored] == ids
    assert {s.subject for s in stored} == {
        subjects.stored_witness(s.witness.source) for s in stored
    }
    exchanges = line.ledger("collect").exchanges
    assert exchanges is not None
    assert exchanges.begun == exchanges.complete == len(stored)
    assert (exchanges.partial, exchanges.filtered, exchanges.open) == ({}, 0, 0)
