"""nginx between a client and another TLS server: server of the one, client of the other. Both of
its conversations are witnessed, each equal to what the far end wrote down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import certificate
from tests.support import comparing, leftovers, nginx, pipeline, plans, workload
from tests.support.pipeline import Pipeline, Stored


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with (
        leftovers.none_left("nginx"),
        pipeline.running(tmp_path_factory.mktemp("line")) as running,
    ):
        yield running


def _by(stored: list[Stored], process: str, role: str) -> dict[str, Stored]:
    found = [s for s in stored if (s.witness.source.process, s.witness.role) == (process, role)]
    by_id = {pipeline.request_id(s.witness): s for s in found}
    assert len(by_id) == len(found)
    return by_id


def test_a_proxy_is_witnessed_as_server_and_as_client(line: Pipeline, tmp_path: Path) -> None:
    planned = plans.plan("nginx-one")
    with (
        workload.serving(tmp_path) as behind,
        nginx.proxying(tmp_path / "nginx", behind.port, certificate.make(tmp_path)) as port,
    ):
        front = behind._replace(port=port)
        got = workload.start_client("http_client", front, tmp_path, planned).finished()
        served = {e.id: e for e in behind.exchanged()}
        line.settle()
        stored = line.witnesses("nginx-one")

    asked = _by(stored, "python", "client")
    as_server, as_client = _by(stored, "nginx", "server"), _by(stored, "nginx", "client")
    for found in (asked, as_server, as_client):
        assert sorted(found) == [p.id for p in planned]
    for told in got:
        comparing.check(as_client[told.id].witness, served[told.id], f"127.0.0.1:{behind.port}")
        request = asked[told.id].witness.request
        assert request is not None
        sent = [(str(name), str(value)) for name, value in request.headers]
        truth = told._replace(
            request_headers=[(name.lower(), value) for name, value in sent],
            request_body=served[told.id].request_body,
        )
        comparing.check(as_server[told.id].witness, truth, f"127.0.0.1:{port}")
