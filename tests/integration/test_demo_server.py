"""The demo's server and the e2e clients agree on what passed between them, without capture: what
e2e tests hold witnesses against is itself held against what was planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import plans, workload


@pytest.mark.parametrize("client", workload.CLIENTS)
def test_client_and_server_log_the_same_exchanges(client: str, tmp_path: Path) -> None:
    planned = plans.plan(client)
    with workload.serving(tmp_path) as server:
        seen_by_client = workload.start_client(client, server, tmp_path, planned).finished()
        seen_by_server = server.exchanged()

    assert (
        [e.id for e in seen_by_client] == [e.id for e in seen_by_server] == [p.id for p in planned]
    )
    for sent, got, served in zip(planned, seen_by_client, seen_by_server, strict=True):
        assert (served.method, served.target) == (sent.method, sent.target)
        assert set(sent.headers) <= set(served.request_headers)
        assert served.request_body == sent.body
        assert (got.status, got.response_body) == (served.status, served.response_body)
        assert set(served.response_headers) <= set(got.response_headers)
    assert len({e.connection for e in seen_by_server}) == 1


@pytest.mark.parametrize("client", workload.CLIENTS)
def test_fifty_connections_are_open_at_once(client: str, tmp_path: Path) -> None:
    planned = [plans.plan(f"{client}-{n}", 2, "&together=50") for n in range(50)]
    with workload.serving(tmp_path) as server:
        got = workload.start_client(client, server, tmp_path, *planned).finished()
        connections = {e.connection for e in server.exchanged()}

    assert sorted(e.id for e in got) == sorted(p.id for plan in planned for p in plan)
    assert len(connections) == 50
