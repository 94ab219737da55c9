"""`plainwire run` as people use it: what it prints, what CMD gets, how both end. How it dies is in
test_run_endings.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import command, leftovers, pipeline, workload
from tests.support.command import plainwire
from tests.support.workload import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with workload.serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    with leftovers.none_left(request.node.name), command.nothing_left():
        yield


def paths(stdout: str) -> list[str]:
    return [json.loads(line)["request"]["path"] for line in stdout.splitlines()]


def test_one_request_is_one_json_line_and_nothing_else(
    server: Server, record_property: Callable[[str, object], None]
) -> None:
    begin = time.monotonic()
    with command.started("run", "--json", "--", "curl", "-sk", f"{server.url}/hello/x") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        first = time.monotonic() - begin
        rest = process.stdout.read()
        assert process.stderr is not None
        errors = process.stderr.read()
    record_property("first_witness_seconds", first)  # in the report; promised: 5
    witness = json.loads(line)
    assert (process.returncode, rest) == (0, "")
    assert witness["request"]["path"] == "/hello/x"
    assert witness["response"]["status"] == 200
    assert (witness["role"], witness["state"]) == ("client", "complete")
    assert witness["source"]["process"] == "curl"
    assert '{"hello": "/hello/x"' in errors  # CMD's stdout
    assert "1 witness, " in errors
    assert ", 0 lost" in errors


def test_a_readable_line_goes_to_stderr_and_masks_query_values(server: Server) -> None:
    ended = plainwire("run", "--", "curl", "-sk", f"{server.url}/hello/y?token=SECRET&a=b")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["method"] == "GET"
    line = ended.stderr.splitlines()[0]
    assert "curl[" in line
    assert f"GET {server.url}/hello/y?token=***&a=*** 200 0 B / " in line
    assert "SECRET" not in ended.stderr


def test_a_deleted_directory_is_no_hindrance(server: Server, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    typed = ["run", "--json", "--", "curl", "-sk", f"{server.url}/hello/gone"]
    ended = subprocess.run(
        ["sh", "-c", script, "sh", tmp_path / "gone", *command.COMMAND, *typed],
        capture_output=True,
        text=True,
        timeout=command.SECONDS,
        env=command.environ(),
        check=False,
    )
    assert (ended.returncode, paths(ended.stdout)) == (0, ["/hello/gone"])


def test_the_status_of_the_command_is_kept(server: Server) -> None:
    ended = plainwire("run", "--json", "--", "curl", "-skf", f"{server.url}/nowhere")
    assert ended.returncode == 22
    assert json.loads(ended.stdout)["response"]["status"] == 404


def test_children_are_captured_too(server: Server, tmp_path: Path) -> None:
    script = tmp_path / "three"
    script.write_text(
        f"#!/bin/sh\nfor n in 1 2 3; do curl -sk {server.url}/hello/$n & done\nwait\n"
    )
    script.chmod(0o755)
    ended = plainwire("run", "--json", "--", script)
    assert ended.returncode == 0
    assert sorted(paths(ended.stdout)) == ["/hello/1", "/hello/2", "/hello/3"]


def test_http2_is_captured(server: Server) -> None:
    ended = plainwire("run", "--json", "--", "curl", "-sk", "--http2", f"{server.url}/hello/h2")
    assert json.loads(ended.stdout)["protocol"] == "http/2"


def test_a_command_without_tls_has_no_witness() -> None:
    ended = plainwire("run", "--json", "--", "sh", "-c", "exit 3")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == (
        "plainwire: 0 witnesses, 0 bytes seen, 0 parsed, 0 lost, "
        "no data went through a TLS library that is probed\n"
    )


def test_a_command_that_does_not_exist_is_one_line_and_127() -> None:
    ended = plainwire("run", "--", "no-such-command", "x")
    assert (ended.returncode, ended.stdout) == (127, "")
    assert ended.stderr.count("\n") == 1
    assert "no-such-command: command not found" in ended.stderr


def test_a_file_that_cannot_be_executed_is_one_line_and_126(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    ended = plainwire("run", "--", tmp_path / "plain")
    assert ended.returncode == 126
    assert ended.stderr.count("\n") == 1


def test_an_interpreter_that_does_not_exist_is_said(tmp_path: Path) -> None:
    orphan = tmp_path / "orphan"
    orphan.write_text("#!/no/such/interpreter\n")
    orphan.chmod(0o755)
    ended = plainwire("run", "--", orphan)
    assert ended.returncode == 127
    assert "interpreter" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_command_ended_by_a_signal_is_128_and_its_number() -> None:
    assert plainwire("run", "-q", "--", "sh", "-c", "kill -9 $$").returncode == 137


def test_stdin_reaches_the_command_and_output_goes_to_the_file(
    server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    posting = ["curl", "-sk", "--data-binary", "@-", f"{server.url}/echo"]
    ended = plainwire("run", "--json", "--output", out, "--", *posting, stdin="from stdin")
    assert (ended.returncode, ended.stdout) == (0, "from stdin")
    assert ended.stderr.startswith("plainwire: 1 witness, ")
    assert json.loads(out.read_text())["request"]["body"]["text"] == "from stdin"
    assert out.stat().st_mode & 0o777 == 0o600


def test_files_in_dev_shm_are_seen(server: Server) -> None:
    """Settings and TLS code are read by our services, whose mounts are their own."""
    if os.statvfs("/dev/shm").f_flag & os.ST_NOEXEC:
        pytest.skip("nothing under /dev/shm can be executed here")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        settings = Path(folder, "plainwire.toml")
        settings.write_text("shards = 4\n")
        shutil.copy(pipeline.system_libssl(), Path(folder, "libssl.so.3"))
        cmd = ("curl", "-sk", f"{server.url}/hello/shm")
        given = ("run", "--json", "--config", settings, "--", *cmd)
        ended = plainwire(*given, LD_LIBRARY_PATH=folder)
    assert ended.returncode == 0, ended.stderr
    assert paths(ended.stdout) == ["/hello/shm"]


def test_readable_output_in_a_file_is_witnesses_alone(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = plainwire("run", "--output", out, "--", "curl", "-sk", f"{server.url}/nothing")
    (line,) = out.read_text().splitlines()
    assert "/nothing 204" in line
    assert ended.stdout == ""
    assert ended.stderr.startswith("plainwire: 1 witness, ")


def test_the_command_has_the_caller_s_descriptors_and_directory(tmp_path: Path) -> None:
    (tmp_path / "three").write_text("read from 3")
    script = 'cd "$1" && exec 3<three && shift && exec "$@"'
    inner = [*command.COMMAND, "run", "-q", "--", "sh", "-c", "cat <&3; pwd; trap"]
    ended = subprocess.run(
        ["sh", "-c", script, "sh", str(tmp_path), *inner],
        capture_output=True, text=True, env=command.environ(), timeout=60, check=False,
    )  # fmt: skip
    assert ended.stdout == f"read from 3{tmp_path}\n"


def test_the_command_has_the_caller_s_mounts_and_signals() -> None:
    text = "readlink /proc/self/ns/mnt; grep -E 'Sig(Blk|Ign)' /proc/self/status"
    own = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout
    assert plainwire("run", "-q", "--", "sh", "-c", text).stdout == own


def test_only_the_command_and_its_descendants_are_captured(server: Server, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    loop = f"until [ -e {stop} ]; do curl -sk {server.url}/hello/other >/dev/null; done"
    with subprocess.Popen(["sh", "-c", loop]) as other:
        try:
            mine = f"{server.url}/hello/mine"
            ended = plainwire(
                "run", "--json", "--", "sh", "-c", f"curl -sk {mine}; curl -sk {mine}"
            )
        finally:
            stop.touch()
            other.wait(20)
    assert paths(ended.stdout) == ["/hello/mine"] * 2


def test_two_runs_at_once_see_only_their_own(server: Server) -> None:
    def run(name: str) -> list[object]:
        many = f"for n in 1 2 3 4 5; do curl -sk {server.url}/hello/{name}; done"
        return ["run", "--json", "--", "sh", "-c", many]

    with command.started(*run("a")) as first, command.started(*run("b")) as second:
        outs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [paths(out) for out in outs] == [["/hello/a"] * 5, ["/hello/b"] * 5]


def test_hostile_names_steer_no_terminal(server: Server, tmp_path: Path) -> None:
    hostile = tmp_path / "c\x1b[2J\u202erl"
    shutil.copy(os.path.realpath(shutil.which("curl") or ""), hostile)
    path = f"{server.url}/hello/\u202e"
    ended = plainwire("run", "--", hostile, "-sk", "-o", "/dev/null", path)
    assert ended.returncode == 0
    assert all(line.isprintable() for line in ended.stderr.splitlines())
    assert "c\\x1b[2J" in ended.stderr


def test_a_reader_that_goes_away_ends_the_lines_and_not_the_command(server: Server) -> None:
    many = f"for n in 1 2 3; do curl -sk {server.url}/hello/$n; sleep 0.2; done; exit 5"
    piped = '"$@" | head -1; echo ${PIPESTATUS[0]}'
    inner = [*command.COMMAND, "run", "--json", "--", "sh", "-c", many]
    ended = subprocess.run(
        ["bash", "-c", piped, "bash", *inner],
        capture_output=True, text=True, env=command.environ(), timeout=60, check=False,
    )  # fmt: skip
    witness, status = ended.stdout.splitlines()
    assert paths(witness) == ["/hello/1"]
    assert status == "5"
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "more", "words"),
    [
        ([], {"PLAINWIRE_SHARD": "1"}, "did you mean PLAINWIRE_SHARDS"),
        ([], {"PLAINWIRE_CAPTURE_RING_MIB": "many"}, "ring_mib"),
        (["--config", "/no/such.toml"], {}, "/no/such.toml"),
        (["--output", "/no/such/directory/f"], {}, "/no/such/directory/f"),
        (["--no-such-option"], {}, "--help"),
        ([], {"PATH": "/nowhere"}, "command not found"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], more: dict[str, str], words: str) -> None:
    ended = plainwire("run", *arguments, "--", "true", **more)
    assert ended.returncode in (125, 127)
    assert ended.stderr.count("\n") == 1
    assert words in ended.stderr


def test_malformed_toml_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("shards = = 1")
    ended = plainwire("run", "--config", tmp_path / "bad.toml", "--", "true")
    assert ended.returncode == 125
    assert "is no TOML" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_without_privileges_it_says_so(tmp_path: Path) -> None:
    inner = [*command.COMMAND, "run", "--", "true"]
    ended = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *inner],
        capture_output=True, text=True, env=command.environ(), check=False,
    )  # fmt: skip
    assert ended.returncode == 125
    assert "CAP_BPF missing; run plainwire " in ended.stderr
    assert ended.stderr.count("\n") == 1
