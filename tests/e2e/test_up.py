"""`plainwire up`: this host until Ctrl-C, and what other terminals can ask it meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.cli import context
from tests.support import command, leftovers, workload
from tests.support.command import plainwire, until
from tests.support.workload import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with workload.serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    with leftovers.none_left(request.node.name), command.nothing_left():
        yield


class Up:
    """A running `plainwire up`; `out` and `errors` grow as it prints."""

    def __init__(self, process: subprocess.Popen[str], context_file: Path) -> None:
        self.process, self.context_file = process, context_file
        self.out: list[str] = []
        self.errors: list[str] = []
        for stream, lines in ((process.stdout, self.out), (process.stderr, self.errors)):
            threading.Thread(target=lines.extend, args=(stream,), daemon=True).start()

    def ask(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return plainwire(*arguments, PLAINWIRE_CONTEXT=str(self.context_file))

    def wait_for(self, text: str) -> None:
        def said() -> bool:
            return any(text in line for line in [*self.out, *self.errors])

        until(said, f"{text!r} is not said: {self.errors}", 40)

    def service(self, name: str) -> int:
        end = f"services.cli.main {name} "
        found = [p.pid for p in command.descendants(self.process.pid) if p.arguments.endswith(end)]
        return found[0]


@contextmanager
def up(folder: Path, *arguments: object) -> Iterator[Up]:
    file = folder / "run" / "context.json"
    with command.started("up", *arguments, PLAINWIRE_CONTEXT=str(file)) as process:
        running = Up(process, file)
        running.wait_for("plainwire: ready")
        yield running


def curl(url: str) -> None:
    subprocess.run(["curl", "-sk", "-o", "/dev/null", url], check=True)


def test_witnesses_are_shown_until_ctrl_c(server: Server, tmp_path: Path) -> None:
    with up(tmp_path) as running:
        curl(f"{server.url}/hello/up?a=SECRET")
        running.wait_for("/hello/up?a=*** 200")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0
        running.wait_for("bytes seen")
    assert any(" curl[" in line and " -> " in line for line in running.out)
    assert not any("SECRET" in line for line in running.out)
    assert not running.context_file.exists()


def test_other_terminals_find_it_by_its_context(server: Server, tmp_path: Path) -> None:
    with up(tmp_path, "--json") as running:
        assert running.context_file.stat().st_mode & 0o777 == 0o600
        tap = ["tap", "witnesses", "--path", "/hello/t*", "--status", "2xx", "--json", "-n", "1"]
        environ = {"PLAINWIRE_CONTEXT": str(running.context_file)}
        with command.started(*tap, **environ) as tapping:
            lines: list[str] = []
            threading.Thread(target=lines.extend, args=(tapping.stdout,), daemon=True).start()

            def tapped() -> bool:
                curl(f"{server.url}/hello/other")
                curl(f"{server.url}/hello/t1")
                return bool(lines)

            until(tapped, "the tap shows nothing")
            assert tapping.wait(10) == 0
        assert [json.loads(line)["request"]["path"] for line in lines] == ["/hello/t1"]

        coverage = running.ask("coverage")
        assert coverage.returncode == 0
        (row,) = [r for r in coverage.stdout.splitlines() if f"[{server.process.pid}]" in r]
        assert row.split()[1:3] == ["captured", "openssl"]
        ledger = running.ask("ledger")
        assert [line.rpartition(" ")[2] for line in ledger.stdout.splitlines()] == ["holds"] * 3
        sums = json.loads(running.ask("ledger", "--json").stdout)
        assert {s["service"] for s in sums["services"]} == {
            "discovery",
            "capture",
            "parse",
            "collect",
        }
        doctor = running.ask("doctor")
        assert doctor.returncode == 0, doctor.stdout


@pytest.mark.parametrize("service", ["parse", "capture"])
def test_a_killed_service_is_started_again(service: str, server: Server, tmp_path: Path) -> None:
    with up(tmp_path) as running:
        killed = running.service(service)
        os.kill(killed, signal.SIGKILL)
        running.wait_for(f"{service} was ended by SIGKILL; starting it again in 0.25 s")

        def captured_again() -> bool:
            curl(f"{server.url}/hello/again")
            return any("/hello/again" in line for line in running.out)

        until(captured_again, "nothing is captured any more", 40)
        assert running.service(service) != killed


def test_only_the_named_processes_are_captured(server: Server, tmp_path: Path) -> None:
    with up(tmp_path, "--pid", server.process.pid) as running:
        curl(f"{server.url}/hello/one")
        running.wait_for("/hello/one")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0
        running.wait_for("bytes seen")
    assert [" <- " in line for line in running.out] == [True]


def test_it_ends_when_nobody_reads_its_witnesses(server: Server, tmp_path: Path) -> None:
    context_file = tmp_path / "context.json"
    with (tmp_path / "errors").open("w+") as errors:
        process = subprocess.Popen(
            [*command.COMMAND, "up", "--json", "--pid", str(server.process.pid)],
            stdout=subprocess.PIPE, stderr=errors, text=True,
            env=command.environ(PLAINWIRE_CONTEXT=str(context_file)),
        )  # fmt: skip
        with process:
            until(context_file.exists, "up doesn't begin", 40)
            assert process.stdout is not None
            process.stdout.close()

            def ended() -> bool:
                curl(f"{server.url}/hello/unread")
                return process.poll() is not None

            until(ended, "up goes on", 40)
        assert process.returncode == 125
        assert "the output was closed" in Path(errors.name).read_text()


def test_a_killed_up_takes_its_services_along(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        ours = command.descendants(running.process.pid)
        running.process.kill()
        running.process.wait(10)
    until(lambda: not any(command.process(p.pid) for p in ours), "services are left")
    assert running.context_file.exists()
    assert context.read({"PLAINWIRE_CONTEXT": str(running.context_file)}) is None
    ended = running.ask("ledger")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    with up(tmp_path) as again:
        assert json.loads(again.context_file.read_text())["pid"] == again.process.pid


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pid", "4194305"], "there is no such process"),
        (["--pid", "me"], "invalid int value"),
        (["--nats", "nats://127.0.0.1:1"], "no NATS server answers at 127.0.0.1:1"),
        (["--nats", "nats://192.0.2.1:4222"], "neither loopback nor TLS"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    ended = plainwire("up", *arguments, PLAINWIRE_CONTEXT=str(tmp_path / "context.json"))
    assert ended.returncode in (2, 125)
    assert ended.stderr.count("\n") == 1
    assert words in ended.stderr
