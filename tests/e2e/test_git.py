"""git, whose TLS is GnuTLS' by libcurl: a clone and what it asks of a smart HTTPS server."""

from __future__ import annotations

import random
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from demo import certificate
from tests.e2e.apps import git_client
from tests.support import comparing, leftovers, pipeline, plans, workload
from tests.support.pipeline import Pipeline
from tests.support.plans import Exchanged

COMMITS = 7
SECONDS = 60


class Server(NamedTuple):
    port: int
    log: Path

    def exchanged(self) -> list[Exchanged]:
        return plans.read_log(self.log)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with leftovers.none_left("git"), pipeline.running(tmp_path_factory.mktemp("line")) as running:
        yield running


def _repository(folder: Path) -> None:
    """Some commits of files that hardly compress, so that a clone is no small answer."""
    work = folder / "work"
    git = ["git", "-C", str(work), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run(["git", "init", "--quiet", str(work)], check=True)
    for number in range(COMMITS):
        lines = random.Random(number).choices(string.ascii_letters, k=20_000)
        (work / f"{number}.txt").write_text("\n".join(lines))
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", f"number {number}"], check=True)
    bare = str(folder / "things.git")
    subprocess.run(["git", "clone", "--quiet", "--bare", str(work), bare], check=True)


@contextmanager
def _serving(folder: Path) -> Iterator[Server]:
    served, log = folder / "served", folder / "server.jsonl"
    served.mkdir()
    log.touch()
    _repository(served)
    command = [*certificate.make(folder), served, log]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.apps.git_server", *map(str, command)],
        cwd=workload.ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()), log)
    finally:
        process.terminate()
        process.wait(SECONDS)
        process.stdout.close()


def test_every_request_of_git_is_witnessed(line: Pipeline, tmp_path: Path) -> None:
    with _serving(tmp_path) as server:
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
