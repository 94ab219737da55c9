"""How `plainwire run` lives and dies: signals, Ctrl-C on a terminal, descendants that stay,
services that die, kill -9 of itself. Nothing of it is left, and CMD is never harmed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import command, leftovers, workload
from tests.support.command import Process, plainwire, until
from tests.support.workload import Server

SERVICES = ("capture", "discovery", "parse", "collect")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with workload.serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    with leftovers.none_left(request.node.name), command.nothing_left():
        yield


def own(root: int) -> dict[str, Process]:
    """The nats-server and the services of a running command."""
    found = {}
    for process in command.descendants(root):
        if process.name == "nats-server":
            found[process.name] = process
        for service in SERVICES:
            if process.arguments.endswith(f"services.cli.main {service} "):
                found[service] = process
    return found


def test_a_signal_for_plainwire_is_for_the_command(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    text = f"trap 'exit 7' TERM; touch {begun}; while :; do sleep 0.05; done"
    with command.started("run", "-q", "--", "sh", "-c", text) as process:
        until(begun.exists, "CMD does not begin")
        process.terminate()
        assert process.wait(30) == 7


def test_a_signal_before_the_command_begins_ends_without_running_it(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with command.started("run", "--", "touch", ran) as process:
        until(lambda: "collect" in own(process.pid), "services do not start")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == "plainwire: interrupted before it began\n"
    assert not ran.exists()


def test_ctrl_c_on_a_terminal_reaches_the_command_once(server: Server, tmp_path: Path) -> None:
    begun, log = tmp_path / "begun", tmp_path / "log"
    url = f"{server.url}/hello/before"
    trap = f"trap 'echo int >>{log}; exit 9' INT"
    text = f"{trap}; curl -sk {url}; touch {begun}; while :; do sleep 0.05; done"
    pid, terminal = pty.fork()
    if pid == 0:
        arguments = [*command.COMMAND, "run", "--", "sh", "-c", text]
        os.execve(arguments[0], arguments, command.environ())
    until(begun.exists, "CMD does not begin")
    os.write(terminal, b"\x03")
    shown = read_all(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert log.read_text() == "int\n"
    assert "/hello/before 200" in shown
    assert "1 witness, " in shown


def read_all(terminal: int) -> str:
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # EIO: nobody has it open any more
            os.close(terminal)
            return shown.decode()


def test_a_killed_plainwire_leaves_the_command_and_nothing_else(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    text = f"echo $$ >{begun}.part; mv {begun}.part {begun}; exec sleep 60"
    with command.started("run", "--", "sh", "-c", text) as process:
        until(begun.exists, "CMD does not begin")
        cmd, ours = int(begun.read_text()), own(process.pid)
        assert set(ours) == {"nats-server", *SERVICES}
        assert len(command.listening(ours["nats-server"].pid)) == 1
        process.kill()
        process.wait(10)
    try:
        until(lambda: not any(command.process(p.pid) for p in ours.values()), "services are left")
        left = command.process(cmd)
        assert left is not None
        assert left.name == "sleep"
    finally:
        os.kill(cmd, signal.SIGKILL)


def test_a_plainwire_killed_at_its_start_never_runs_the_command(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with command.started("run", "--", "touch", ran) as process:
        until(lambda: "nats-server" in own(process.pid), "nothing starts")
        process.kill()
        process.wait(10)
    assert not ran.exists()


def test_descendants_that_stay_are_named_and_left(server: Server, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    stay = f"echo $$ >{pid_file}; exec sleep 60 >/dev/null 2>&1"
    text = f"setsid sh -c '{stay}' & curl -sk {server.url}/hello/d"
    ended = plainwire("run", "--json", "--", "sh", "-c", text)
    left = int(pid_file.read_text())
    try:
        assert ended.returncode == 0
        assert json.loads(ended.stdout)["request"]["path"] == "/hello/d"
        assert f"left running, no longer captured: sleep[{left}]" in ended.stderr
        assert command.process(left) is not None
    finally:
        os.kill(left, signal.SIGKILL)


def test_descendants_that_end_in_time_are_waited_for(server: Server) -> None:
    text = f"(sleep 1; curl -sk {server.url}/hello/late) & exit 4"
    ended = plainwire("run", "--json", "--", "sh", "-c", text)
    assert ended.returncode == 4
    assert json.loads(ended.stdout)["request"]["path"] == "/hello/late"
    assert "left running" not in ended.stderr


@pytest.mark.parametrize("service", ["discovery", "parse", "collect"])
def test_a_killed_service_is_started_again_and_no_witness_is_lost(
    service: str, server: Server, tmp_path: Path
) -> None:
    first, go = tmp_path / "first", tmp_path / "go"
    text = (
        f"curl -sk {server.url}/hello/1; touch {first}; until [ -e {go} ]; do sleep 0.05; done; "
        f"curl -sk {server.url}/hello/2"
    )
    with command.started("run", "--json", "--", "sh", "-c", text) as process:
        until(first.exists, "CMD does not begin")
        os.kill(own(process.pid)[service].pid, signal.SIGKILL)
        go.touch()
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert [json.loads(line)["request"]["path"] for line in out.splitlines()] == [
        "/hello/1",
        "/hello/2",
    ]
    assert f"plainwire: {service} was ended by SIGKILL; starting it again" in errors


def test_a_killed_nats_server_ends_capturing_and_not_the_command(tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    text = f"touch {begun}; until [ -e {go} ]; do sleep 0.05; done; exit 6"
    with command.started("run", "--", "sh", "-c", text) as process:
        until(begun.exists, "CMD does not begin")
        os.kill(own(process.pid)["nats-server"].pid, signal.SIGKILL)
        assert process.stderr is not None
        line = process.stderr.readline()
        go.touch()
        assert process.wait(60) == 6
    assert "nothing is captured from here on: the embedded nats-server ended" in line


def run_directory(pid: int) -> Path:
    """As others would see it, if they could."""
    mounts = Path(f"/proc/{pid}/mounts").read_text().splitlines()
    (place,) = (line.split()[1] for line in mounts if line.startswith("plainwire "))
    return Path(f"/proc/{pid}/root{place}")


def test_nothing_of_ours_is_in_argv_or_readable_by_others(tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    text = f"touch {begun}; until [ -e {go} ]; do sleep 0.05; done"
    with command.started("run", "-q", "--", "sh", "-c", text) as process:
        until(begun.exists, "CMD does not begin")
        server = own(process.pid)["nats-server"]
        inside = run_directory(server.pid)
        token = (inside / "token").read_text()
        modes = {path.stat().st_mode & 0o077 for path in (inside, inside / "token")}
        everything = " ".join(p.arguments for p in command.descendants(process.pid))
        go.touch()
        assert process.wait(30) == 0
    assert modes == {0}
    assert len(token) > 20
    assert token not in everything


def test_sessions_of_a_shell_can_be_stopped_and_continued(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    text = f"touch {begun}; sleep 0.3; exit 3"
    arguments = [*command.COMMAND, "run", "-q", "--", "sh", "-c", text]
    with subprocess.Popen(arguments, env=command.environ(), process_group=0) as process:
        until(begun.exists, "CMD does not begin")
        os.killpg(process.pid, signal.SIGTSTP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        os.killpg(process.pid, signal.SIGCONT)
        assert process.wait(30) == 3
