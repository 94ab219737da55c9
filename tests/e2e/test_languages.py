"""Programs of many languages and TLS libraries: each request is witnessed, equal to what both ends
wrote down, on the side of the program and on that of the server.

GnuTLS (wget, git), OpenSSL linked into a program (Node, Rust), brought by a wheel or in a place of
its own, or the system's (Ruby, PHP, Perl, Rust, nginx).
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from demo import certificate
from tests.e2e.apps import git_client
from tests.support import (
    comparing,
    git_repository,
    leftovers,
    nginx,
    pipeline,
    plans,
    programs,
    workload,
)
from tests.support.pipeline import Pipeline, Stored
from tests.support.plans import Exchanged
from tests.support.programs import Program

PROGRAMS: dict[str, Callable[[Path], Program]] = {
    "node-https": lambda _: programs.node("https"),
    "node-fetch": lambda _: programs.node("fetch"),
    "node-http2": lambda _: programs.node("http2"),
    "wget": lambda _: programs.wget(),
    "ruby": lambda _: programs.scripted("ruby", "rb"),
    "php": lambda _: programs.scripted("php", "php"),
    "perl": lambda _: programs.scripted("perl", "pl"),
    "native-tls": lambda _: programs.native_tls("dynamic"),
    "native-tls-static": lambda _: programs.native_tls("static"),
    "pycurl": lambda _: programs.pycurl(),
    "prefixed": programs.prefixed,
}
SECONDS = 180


class Told(NamedTuple):
    """What became of a program, and what it wrote down: by id, status and body."""

    program: Program
    status: int
    answers: dict[str, tuple[int, bytes]]


class Traffic(NamedTuple):
    told: dict[str, Told | str]  # or why there was none
    served: dict[str, Exchanged]
    stored: list[Stored]
    server: workload.Server
    pipeline: Pipeline

    @property
    def port(self) -> int:
        return self.server.port


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    """All programs at once, so that it takes no longer than the slowest."""
    folder = tmp_path_factory.mktemp("languages")
    found = {name: _found(make, folder) for name, make in PROGRAMS.items()}
    ready = {name: program for name, program in found.items() if isinstance(program, Program)}
    with contextlib.ExitStack() as stack:
        stack.enter_context(leftovers.none_left("languages"))
        line = stack.enter_context(pipeline.running(folder / "line"))
        server = stack.enter_context(workload.serving(folder))
        for program in ready.values():
            stack.enter_context(_attached(line, program))
        started = {n: _start(n, p, server.port, folder) for n, p in ready.items()}
        told: dict[str, Told | str] = {
            name: program for name, program in found.items() if isinstance(program, str)
        }
        for name, process in started.items():
            status = process.wait(SECONDS)
            told[name] = Told(ready[name], status, _answers(folder / f"{name}.log"))
        line.settle()
        served = {e.id: e for e in server.exchanged()}
        yield Traffic(told, served, line.witnesses(), server, line)


def _found(make: Callable[[Path], Program], folder: Path) -> Program | str:
    try:
        return make(folder)
    except pytest.skip.Exception as reason:
        return str(reason)


@contextlib.contextmanager
def _attached(line: Pipeline, program: Program) -> Iterator[None]:
    """Where its TLS code is nobody's but its own: known before it says anything."""
    if program.file is None:
        yield
        return
    with subprocess.Popen(
        program.waiting, stdin=subprocess.PIPE, env=_environ(program), cwd=workload.ROOT
    ):
        line.wait_attached(program.file)
        yield


def _environ(program: Program) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return {**clean, **program.environ}


def _start(name: str, program: Program, port: int, folder: Path) -> subprocess.Popen[bytes]:
    log, path = folder / f"{name}.log", folder / f"{name}.json"
    log.touch()
    plans.write(path, plans.plan(f"{name}-one"))
    command = [*program.command, str(port), str(log), str(path)]
    return subprocess.Popen(command, env=_environ(program), cwd=workload.ROOT)


def _answers(log: Path) -> dict[str, tuple[int, bytes]]:
    """Of a line of three, or of one as tests.support.plans has it."""
    found = {}
    for row in map(json.loads, log.read_text().splitlines()):
        if isinstance(row, dict):
            row = [row["id"], row["status"], row["response_body"]]
        found[row[0]] = (row[1], base64.b64decode(row[2]))
    return found


def _whole(exchanged: Exchanged) -> tuple[bytes, bytes]:
    """The body of an answer, and with its coding undone, as fetch gives it."""
    coded = dict(exchanged.response_headers).get("content-encoding") == "gzip"
    body = exchanged.response_body
    return body, gzip.decompress(body) if coded else body


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_request_is_witnessed_on_both_sides(name: str, traffic: Traffic) -> None:
    told = traffic.told[name]
    if isinstance(told, str):
        pytest.skip(told)
    assert told.status == 0, "the program itself failed"
    planned = plans.plan(f"{name}-one")
    assert [*told.answers] == [p.id for p in planned]
    ours = [s for s in traffic.stored if pipeline.request_id(s.witness).startswith(f"{name}-one-")]
    for role in ("client", "server"):
        witnesses = [s.witness for s in ours if s.witness.role == role]
        assert sorted(pipeline.request_id(w) for w in witnesses) == [p.id for p in planned]
        assert {w.protocol for w in witnesses} == {told.program.protocol}
        for witness in witnesses:
            truth = traffic.served[pipeline.request_id(witness)]
            status, body = told.answers[truth.id]
            assert status == truth.status, truth.id
            assert body in _whole(truth), truth.id
            comparing.check(witness, truth, f"127.0.0.1:{traffic.port}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_witness_names_its_process_its_library_and_its_peer(name: str, traffic: Traffic) -> None:
    told = traffic.told[name]
    if isinstance(told, str):
        pytest.skip(told)
    sources = {
        (s.witness.source.process, s.witness.source.tls, s.witness.connection.peer)
        for s in traffic.stored
        if s.witness.role == "client" and pipeline.request_id(s.witness).startswith(f"{name}-one-")
    }
    ((process, tls, peer),) = sources
    assert process == told.program.process[:15]
    assert re.fullmatch(told.program.tls, tls)
    assert peer == f"127.0.0.1:{traffic.port}"


def _by(stored: list[Stored], process: str, role: str) -> dict[str, Stored]:
    found = [s for s in stored if (s.witness.source.process, s.witness.role) == (process, role)]
    by_id = {pipeline.request_id(s.witness): s for s in found}
    assert len(by_id) == len(found)
    return by_id


def test_a_proxy_is_witnessed_as_server_and_as_client(traffic: Traffic, tmp_path: Path) -> None:
    """nginx between a client and another TLS server: server of the one, client of the other."""
    planned = plans.plan("nginx-one")
    with (
        workload.serving(tmp_path) as behind,
        nginx.proxying(tmp_path / "nginx", behind.port, certificate.make(tmp_path)) as port,
    ):
        front = behind._replace(port=port)
        got = workload.start_client("http_client", front, tmp_path, planned).finished()
        served = {e.id: e for e in behind.exchanged()}
        traffic.pipeline.settle()
        stored = traffic.pipeline.witnesses("nginx-one")

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


def test_what_is_typed_into_gnutls_cli_is_witnessed(traffic: Traffic, tmp_path: Path) -> None:
    """By hand, all requests at once; the last one has the server close."""
    cli = programs.tool("gnutls-cli")
    port, ids = traffic.port, [f"gnutls-cli-{number:03}" for number in range(plans.PRIME)]
    typed = "".join(
        f"GET /hello/{id_}?n=0 HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nx-request-id: {id_}\r\n"
        f"connection: {'close' if id_ == ids[-1] else 'keep-alive'}\r\n\r\n"
        for id_ in ids
    )
    command = [cli, "--insecure", "--port", str(port), "127.0.0.1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(typed.encode())
        process.stdin.flush()
        printed = process.stdout.read().decode()
    traffic.pipeline.settle()
    served = {e.id: e for e in traffic.server.exchanged()}
    ours = traffic.pipeline.witnesses("gnutls-cli-")
    stored = [s.witness for s in ours if s.witness.role == "client"]
    assert [pipeline.request_id(witness) for witness in stored] == ids
    for witness in stored:
        truth = served[pipeline.request_id(witness)]
        assert truth.response_body.decode() in printed
        comparing.check(witness, truth, f"127.0.0.1:{port}")
        assert witness.source.process == "gnutls-cli"


def test_every_request_of_git_is_witnessed(traffic: Traffic, tmp_path: Path) -> None:
    """Its TLS is GnuTLS' by libcurl: a clone, and what it asks of a smart HTTPS server."""
    with git_repository.serving(tmp_path) as server:
        subprocess.run(
            [sys.executable, "-m", "tests.e2e.apps.git_client", str(server.port), str(tmp_path)],
            cwd=workload.ROOT, check=True, timeout=SECONDS,
        )  # fmt: skip
        truth = server.exchanged()
    traffic.pipeline.settle()
    assert len(truth) == git_client.CLONE + git_client.ASKED * git_client.ASK == 23
    assert (tmp_path / "clone" / "6.txt").exists()

    stored = [s.witness for s in traffic.pipeline.witnesses("git-") if s.witness.role == "client"]
    ordered = sorted(stored, key=lambda w: (pipeline.request_id(w), w.connection.stream))
    assert len(ordered) == len(truth)
    for witness, exchanged in zip(ordered, truth, strict=True):
        assert pipeline.request_id(witness) == exchanged.id
        comparing.check(witness, exchanged, f"127.0.0.1:{server.port}")
        assert witness.source.process == "git-remote-http"
        assert re.fullmatch(r"gnutls \d+\.\d+\.\d+", witness.source.tls)
    assert max(len(exchanged.response_body) for exchanged in truth) > comparing.CAP


def test_the_ledger_balances(traffic: Traffic) -> None:
    """After all of the above: every byte is parsed, none lost."""
    traffic.pipeline.settle()
    ledger = traffic.pipeline.ledger("parse").bytes
    assert ledger is not None
    assert ledger.seen == ledger.parsed > 0
    assert (ledger.in_flight, ledger.gaps, ledger.shed, ledger.opaque) == (0, {}, 0, 0)
