"""git, whose TLS is GnuTLS' by libcurl: a clone and what it asks of a smart HTTPS server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.apps import git_client
from tests.support import comparing, git_repository, leftovers, pipeline, workload
from tests.support.pipeline import Pipeline

SECONDS = 60


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with leftovers.none_left("git"), pipeline.running(tmp_path_factory.mktemp("line")) as running:
        yield running


def test_every_request_of_git_is_witnessed(line: Pipeline, tmp_path: Path) -> None:
    with git_repository.serving(tmp_path) as server:
        subprocess.run(
            [sys.executable, "-m", "tests.e2e.apps.git_client", str(server.port), str(tmp_path)],
            cwd=workload.ROOT, check=True, timeout=SECONDS,
        )  # fmt: skip
        truth = server.exchanged()
    line.settle()
    assert len(truth) == git_client.CLONE + git_client.ASKED * git_client.ASK == 23
    assert (tmp_path / "clone" / "6.txt").exists()

    stored = [s.witness for s in line.witnesses("git-") if s.witness.role == "client"]
    ordered = sorted(stored, key=lambda w: (pipeline.request_id(w), w.connection.stream))
    assert len(ordered) == len(truth)
    for witness, exchanged in zip(ordered, truth, strict=True):
        assert pipeline.request_id(witness) == exchanged.id
        comparing.check(witness, exchanged, f"127.0.0.1:{server.port}")
        assert witness.source.process == "git-remote-http"
        assert re.fullmatch(r"gnutls \d+\.\d+\.\d+", witness.source.tls)
    assert max(len(exchanged.response_body) for exchanged in truth) > comparing.CAP
