"""Coverage: every process that speaks TLS is named, with its reason, and none is harmed by it.

Real programs whose TLS no probe reads, bytes that only look like TLS, and captured programs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from services.capture.parent import coverage
from services.discovery import inventory
from services.messages import CoverageEntry
from tests.support import pipeline, tls_of_their_own, workload
from tests.support.command import plainwire
from tests.support.pipeline import Pipeline
from tests.support.tls_of_their_own import speaking
from tests.support.workload import Server

SECONDS = 30
LAUNCHER = "import os, sys\nfor line in sys.stdin:\n    os.execv('/bin/sh', ['sh', '-c', line])"


class Line(NamedTuple):
    pipeline: Pipeline
    server: Server
    folder: Path
    excluded: subprocess.Popen[str]  # left out, with whatever it is told to become

    def entry(self, pid: int) -> CoverageEntry | None:
        return next((e for e in self.pipeline.coverage().processes if e.pid == pid), None)

    def named(self, pid: int, like: Callable[[CoverageEntry], object]) -> CoverageEntry:
        """Once its entry is as wanted."""
        deadline = time.monotonic() + SECONDS
        while (found := self.entry(pid)) is None or not like(found):
            assert time.monotonic() < deadline, f"{found}\n{self.pipeline.logs()}"
            time.sleep(0.1)
        return found


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("coverage")
    with (
        workload.serving(folder) as server,
        _launcher() as excluded,
        pipeline.running(
            folder / "pipeline", PLAINWIRE_CAPTURE_EXCLUDE_PIDS=str(excluded.pid)
        ) as running,
    ):
        yield Line(running, server, folder, excluded)


@contextmanager
def _launcher() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER], stdin=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def command_of(program: str, line: Line) -> list[str]:
    port = line.server.port
    match program.split():
        case ["java", how]:
            return tls_of_their_own.java(how, port)
        case ["rustls"]:
            return tls_of_their_own.rustls(port)
        case ["grpcio"]:
            return tls_of_their_own.grpcio(line.folder)
        case ["records", where]:
            return tls_of_their_own.records(where)
    raise AssertionError(program)


@pytest.mark.parametrize(
    ("program", "state", "reason", "mend"),
    [
        ("java url", "not_captured", "Java's own TLS (JSSE) in libjvm.so", "the other end"),
        ("java http", "not_captured", "Java's own TLS (JSSE) in libjvm.so", "the other end"),
        ("rustls", "not_captured", "rustls 0.23.", "native-tls"),
        ("grpcio", "partly", "BoringSSL without symbols in cygrpc", "SYSTEM_OPENSSL"),
        ("records tcp", "not_captured", inventory.UNKNOWN, "the other end"),
        ("records quic", "not_captured", coverage.QUIC, "HTTP/3"),
    ],
)
def test_tls_that_no_probe_reads_is_named_and_unharmed(
    line: Line, program: str, state: str, reason: str, mend: str
) -> None:
    command = command_of(program, line)
    begun_ns = time.time_ns()
    with speaking(command) as speaker:

        def is_named(entry: CoverageEntry) -> bool:
            speaker.speak()
            return entry.state == state and reason in entry.reason

        found = line.named(speaker.pid, is_named)
        assert begun_ns < found.since_ns <= time.time_ns()
        assert found.seen_on_wire
        assert mend in found.mend
        assert not found.ended
    assert line.named(speaker.pid, lambda entry: entry.ended).reason == found.reason


def test_records_in_files_pipes_and_local_sockets_are_nobody_s_tls(line: Line) -> None:
    with (
        speaking(tls_of_their_own.records("elsewhere")) as elsewhere,
        speaking(tls_of_their_own.records("tcp")) as over_tcp,
    ):
        elsewhere.speak()
        line.named(over_tcp.pid, lambda entry: entry.seen_on_wire)
        assert line.entry(elsewhere.pid) is None


def test_what_is_captured_is_said_to_be(line: Line) -> None:
    """curl hands its library the socket, asyncio carries the records itself."""
    url = f"{line.server.url}/hello/captured"
    with subprocess.Popen(["curl", "-sk", url, "-o", "/dev/null"]) as curl:
        assert curl.wait(SECONDS) == 0
    server = line.named(line.server.process.pid, lambda entry: entry.seen_on_wire)
    assert (server.state, server.reason) == ("captured", "")
    assert server.library.startswith("openssl")
    sent = line.entry(curl.pid)
    assert sent is None or sent.state == "captured"


def test_whoever_is_left_out_is_so_by_a_rule(line: Line) -> None:
    (program,) = command_of("rustls", line)[:1]
    assert line.excluded.stdin is not None
    line.excluded.stdin.write(f"exec {program} {line.server.port} < /proc/$$/fd/0 > /dev/null\n")
    line.excluded.stdin.flush()
    found = line.named(line.excluded.pid, lambda entry: entry.seen_on_wire)
    assert (found.state, found.reason) == ("excluded", coverage.BY_EXCLUDE_PIDS)


def test_a_run_says_that_its_command_s_tls_is_not_captured(line: Line) -> None:
    ended = plainwire("run", "--", *command_of("rustls", line))
    assert ended.returncode == 0
    (warning,) = [row for row in ended.stderr.splitlines() if "isn't captured" in row]
    assert warning.startswith("plainwire: rustls_client[")
    assert "rustls 0.23." in warning


def test_what_discovery_may_not_read_is_named_as_that(line: Line) -> None:
    line.pipeline.kill("discovery")
    line.pipeline.start("discovery", through=("setpriv", "--bounding-set", "-sys_ptrace"))
    line.pipeline.wait_answering("discovery")
    try:
        with speaking(command_of("records tcp", line)) as speaker:
            found = line.named(speaker.pid, lambda entry: not entry.pending)
            assert (found.state, found.mend) == ("not_captured", inventory.MEND_UNREADABLE)
            assert found.reason == inventory.UNREADABLE
    finally:
        line.pipeline.kill("discovery")
        line.pipeline.start("discovery")
