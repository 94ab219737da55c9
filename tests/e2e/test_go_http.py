"""HTTP of Go programs as witnesses: both ends' own logs against what the pipeline makes of it.

The oldest Go and the newest, as client and as server, over HTTP/1.1 and HTTP/2; a program that
discovery finds only once it runs; gRPC. Bytes below HTTP are in test_go.py.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from services.messages import Body, Witness
from tests.support import comparing, go_builds, go_programs, leftovers, pipeline, truths
from tests.support.comparing import CAP
from tests.support.go_builds import BUILDS, NEWEST, OLDEST, TRUTH, Build
from tests.support.pipeline import Pipeline
from tests.support.plans import PRIME
from tests.support.proxy import free_port, wait_for
from tests.support.workload import ROOT

STRIPPED = BUILDS[4]  # and position-independent
ENDS = {"oldest": (OLDEST, OLDEST), "newest": (NEWEST, STRIPPED), "mixed": (STRIPPED, OLDEST)}
CALLS = ROOT / "tests" / "e2e" / "apps" / "grpc_peer"
SECONDS = 60


class Serving(NamedTuple):
    process: subprocess.Popen[str]
    port: int
    log: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("go")
    truths.certificate(folder)
    return folder


@pytest.fixture(scope="module")
def line(place: Path) -> Iterator[Pipeline]:
    programs = [go_builds.built(TRUTH, build) for build in (OLDEST, NEWEST, STRIPPED)]
    programs.append(go_programs.build(CALLS))
    files = ",".join(map(str, programs))
    with (
        leftovers.none_left("go"),
        pipeline.running(place / "line", PLAINWIRE_DISCOVERY_FILES=files) as running,
    ):
        for program in programs:
            running.wait_attached(program)
        yield running


@contextmanager
def serving(program: Path, place: Path, name: str) -> Iterator[Serving]:
    log = place / f"{name}.server"
    command = [str(program), str(place / "both.pem"), "serve", str(log)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Serving(process, int(process.stdout.readline()), log)
    finally:
        process.kill()
        process.wait(SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def requested(program: Path, place: Path, server: Serving, name: str, *more: str) -> Path:
    log = place / f"{name}.client"
    words = ["request", str(server.port), str(log), name, str(PRIME), *more]
    subprocess.run([str(program), str(place / "both.pem"), *words], check=True, timeout=SECONDS)
    return log


def logged(path: Path) -> dict[str, dict[str, Any]]:
    rows = map(json.loads, path.read_text().splitlines())
    return {row["id"]: row for row in rows}


@pytest.mark.parametrize("second", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("ends", list(ENDS))
def test_every_request_is_witnessed_on_both_sides(
    line: Pipeline, place: Path, ends: str, second: bool
) -> None:
    name = f"go-{ends}-{1 + second}"
    client, server = ENDS[ends]
    with serving(go_builds.built(TRUTH, server), place, name) as served:
        log = requested(go_builds.built(TRUTH, client), place, served, name, *["second"] * second)
        line.settle()
    check_role(line, name, "client", logged(log), client)
    check_role(line, name, "server", logged(served.log), server)


def check_role(
    line: Pipeline, name: str, role: str, truth: dict[str, dict[str, Any]], build: Build
) -> None:
    stored = [s.witness for s in line.witnesses(name) if s.witness.role == role]
    assert [pipeline.request_id(witness) for witness in stored] == list(truth)
    assert len(truth) == PRIME
    assert len({witness.connection.id for witness in stored}) == 1
    for witness in stored:
        check(witness, truth[pipeline.request_id(witness)], build)


def check(witness: Witness, truth: dict[str, Any], build: Build) -> None:
    name, request, response = truth["id"], witness.request, witness.response
    assert (witness.state, witness.final, witness.gaps) == ("complete", True, ()), name
    assert request is not None, name
    assert response is not None, name
    assert (request.method, request.path) == (truth["method"], truth["target"]), name
    assert response.status == truth["status"] == 202, name
    assert truth["protocol"].startswith(witness.protocol), name
    check_body(request.body, base64.b64decode(truth["request_body"] or ""), name)
    check_body(response.body, base64.b64decode(truth["response_body"] or ""), name)
    assert witness.source.tls.startswith(f"go crypto/tls go{build.version}"), name
    assert (witness.connection.local, witness.connection.peer) == (truth["local"], truth["peer"])
    assert not witness.connection.mid_connection


def check_body(body: Body, sent: bytes, name: str) -> None:
    shown = comparing.shown(body)
    assert body.size == len(sent), name
    assert CAP - 3 <= len(shown) <= CAP if len(sent) > CAP else len(shown) == len(sent), name
    assert shown == sent[: len(shown)], name


def test_a_program_is_found_as_it_runs(line: Pipeline, place: Path, tmp_path: Path) -> None:
    program = tmp_path / "found"
    shutil.copy(go_builds.built(TRUTH, STRIPPED), program)
    with serving(program, place, "go-found") as served:
        line.wait_attached(program)
        log = requested(go_builds.built(TRUTH, NEWEST), place, served, "go-found")
        line.settle()
        process = served.process.pid
        covered = {entry.pid: entry for entry in line.coverage().processes}[process]
    check_role(line, "go-found", "server", logged(served.log), STRIPPED)
    assert len(logged(log)) == PRIME
    assert (covered.state, covered.library) == ("captured", "go crypto/tls go1.27.3")


def test_grpc_calls_are_witnessed_on_both_sides(line: Pipeline, place: Path) -> None:
    program, port = go_programs.build(CALLS), free_port()
    certificate = str(place / "both.pem")
    server = subprocess.Popen([program, "serve", certificate, certificate, str(port)])
    try:
        wait_for(port)
        out = subprocess.run(
            [program, "call", f"127.0.0.1:{port}"],
            check=True, capture_output=True, text=True, timeout=SECONDS,
        ).stdout  # fmt: skip
        line.settle()
    finally:
        server.kill()
        server.wait(SECONDS)
    told = sorted(tuple(json.loads(row)) for row in out.splitlines())
    assert len(told) == 8
    for role in ("client", "server"):
        parts = [s.witness for s in line.witnesses() if s.witness.role == role and s.witness.grpc]
        ids = {witness.id for witness in parts}
        assert sorted(call([p for p in parts if p.id == one]) for one in ids) == told


def call(parts: list[Witness]) -> tuple[str, int, int, int | None]:
    """A stream comes out in parts."""
    found = [part.grpc for part in parts if part.grpc is not None]
    senders = [message.sender for part in found for message in part.messages]
    path = f"/{found[0].service}/{found[0].method}"
    return path, senders.count("client"), senders.count("server"), found[-1].status


def test_the_ledger_balances(line: Pipeline) -> None:
    """After all of the above: every byte is parsed, every exchange complete."""
    line.settle()
    ledger = line.ledger("parse").bytes
    assert ledger is not None
    assert ledger.seen == ledger.parsed > 0
    assert (ledger.in_flight, ledger.gaps, ledger.shed, ledger.opaque) == (0, {}, 0, 0)
    counters = line.ledger("capture").counters
    assert (counters["calls_refused"], counters["calls_unmatched"]) == (0, 0)
