"""What a process lives through: a library that nobody has met, one that is replaced under it, one
that it loads late, fork and exec in the middle, a pid and a pointer that were another's.

Discovery scans once an hour here, so that what is found is found by sightings. How fast that is,
`scripts/bench` measures; nothing here depends on it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import comparing, leftovers, pipeline, plans, workload
from tests.support.pipeline import Pipeline, Stored
from tests.support.workload import ROOT

SECONDS = 30
MOST = 120  # requests of one program
APP = ROOT / "tests" / "e2e" / "apps" / "lives.py"


@dataclass
class Program:
    process: subprocess.Popen[str]
    name: str
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def do(self, *commands: str) -> int:
        """The pid of who answers the last one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pid = 0
        for command in commands:
            self.process.stdin.write(f"{command}\n")
            self.process.stdin.flush()
            said, _, number = self.process.stdout.readline().partition(" ")
            assert said == "ok", f"{self.name}: {command}"
            pid = int(number)
        return pid


@dataclass
class Stage:
    line: Pipeline
    server: workload.Server
    folder: Path

    @contextmanager
    def program(self, name: str, library: Path | None = None, *before: str) -> Iterator[Program]:
        """Loads its libssl from `library`'s folder."""
        plan = plans.write(self.folder / f"{name}.json", plans.plan(name, MOST))
        log = self.folder / f"{name}.jsonl"
        log.touch()
        path = {"LD_LIBRARY_PATH": str(library.parent)} if library else {}
        with subprocess.Popen(
            [*before, sys.executable, str(APP), str(self.server.port), str(log), str(plan)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **path},
        ) as process:  # fmt: skip
            yield Program(process, name, log)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(SECONDS) == 0

    def witnessed(self, program: Program) -> list[Stored]:
        """The client's own witnesses until now, each of them checked, in the order of sending."""
        self.line.settle()
        got, served = plans.read_log(program.log), self.server.exchanged()
        truth = {e.id: e for e in comparing.merged(got, served)}
        mine = self.line.witnesses(f"{program.name}-")
        found = sorted(
            (s for s in mine if s.witness.role == "client"),
            key=lambda s: pipeline.request_id(s.witness),
        )
        for s in found:
            exchanged = truth[pipeline.request_id(s.witness)]
            comparing.check(s.witness, exchanged, f"127.0.0.1:{self.server.port}")
        assert len({pipeline.request_id(s.witness) for s in found}) == len(found)
        return found

    def copy(self, name: str) -> Path:
        """A libssl that nobody has met."""
        library = self.folder / name / "libssl.so.3"
        library.parent.mkdir()
        shutil.copy(pipeline.system_libssl(), library)
        return library


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("line")
    seldom = {"PLAINWIRE_DISCOVERY_INTERVAL": "3600"}
    with leftovers.none_left("lives"), pipeline.running(folder, **seldom) as running:
        yield running


@pytest.fixture
def stage(line: Pipeline, tmp_path: Path) -> Iterator[Stage]:
    with workload.serving(tmp_path) as server:
        yield Stage(line, server, tmp_path)


@contextmanager
def nobody_discovers(line: Pipeline) -> Iterator[None]:
    line.send("discovery", signal.SIGSTOP)
    try:
        yield
    finally:
        line.send("discovery", signal.SIGCONT)


def until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def numbers(found: list[Stored]) -> list[int]:
    return [int(pipeline.request_id(s.witness).rpartition("-")[2]) for s in found]


def mid_connection(found: list[Stored]) -> set[bool]:
    return {s.witness.connection.mid_connection for s in found}


def test_a_program_with_a_library_that_nobody_has_met_is_witnessed(stage: Stage) -> None:
    """It waits for nothing but 300 ms. Where that was too short its connection says so."""
    with stage.program("met", stage.copy("new")) as program:
        program.do("load")
        time.sleep(0.3)
        program.do("connect", "send 5")
        until(lambda: program.do("send 1") and stage.witnessed(program))
        program.do("connect", "send 1")
        found = stage.witnessed(program)
        sent = len(plans.read_log(program.log))
    assert numbers(found) == [*range(sent - len(found), sent)]
    assert len(found) == sent or mid_connection(found[:-1]) == {True}
    assert mid_connection(found[-1:]) == {False}


def test_a_library_that_is_loaded_late_is_found(stage: Stage) -> None:
    with stage.program("late", stage.copy("late")) as program:
        stage.line.settle()
        program.do("load")
        until(lambda: program.do("connect", "send 1") and stage.witnessed(program))
    assert {s.witness.source.pid for s in stage.witnessed(program)} == {program.pid}


def test_what_was_missed_before_is_said(stage: Stage) -> None:
    library = stage.copy("before")
    with stage.program("before", library) as program:
        with nobody_discovers(stage.line):
            program.do("load", "connect", "send 5")
        stage.line.wait_attached(library)
        program.do("send 5", "connect", "send 3")
        found = stage.witnessed(program)
    assert numbers(found) == [*range(5, 13)]
    assert mid_connection(found[:5]) == {True}
    assert mid_connection(found[5:]) == {False}


def test_a_library_that_was_replaced_is_probed_where_it_runs(stage: Stage) -> None:
    """The old one has no name any more; who starts now maps the new one."""
    library = stage.copy("replaced")
    with stage.program("old", library) as old, ExitStack() as later:
        with nobody_discovers(stage.line):
            old.do("load")
            inode = library.stat().st_ino
            other = stage.copy("other")
            other.rename(library)
            fresh = later.enter_context(stage.program("fresh", library))
            fresh.do("load")
        until(lambda: {inode, library.stat().st_ino} <= attached(stage.line))
        for one in (old, fresh):
            one.do("connect", "send 23")
        found = [stage.witnessed(one) for one in (old, fresh)]
    assert [numbers(mine) for mine in found] == [[*range(23)]] * 2
    assert mid_connection([*found[0], *found[1]]) == {False}


def attached(line: Pipeline) -> set[int]:
    return {target.identity.inode for target in line.coverage().attached}


def test_a_child_that_goes_on_with_a_connection_owns_what_it_says(stage: Stage) -> None:
    """To it the connection begins in the middle; its parent's ends as it was."""
    with stage.program("fork") as program:
        parent = program.do("load", "connect", "send 10")
        child = program.do("fork", "send 13")
        found = stage.witnessed(program)
    assert child != parent
    assert numbers(found) == [*range(23)]
    assert [s.witness.source.pid for s in found] == [parent] * 10 + [child] * 13
    assert len({s.witness.connection.id for s in found}) == 2
    assert mid_connection(found[:10]) == {False}
    assert mid_connection(found[10:]) == {True}


def test_an_exec_ends_what_was_and_begins_anew_in_the_same_process(stage: Stage) -> None:
    with stage.program("exec") as program:
        pid = program.do("load", "connect", "send 10")
        program.do("exec")
        assert program.do("load", "connect", "send 13") == pid
        found = stage.witnessed(program)
    assert numbers(found) == [*range(23)]
    assert {s.witness.source.pid for s in found} == {pid}
    connections = [s.witness.connection.id for s in found]
    assert connections == [connections[0]] * 10 + [connections[10]] * 13
    assert connections[0] != connections[10]
    assert mid_connection(found) == {False}


def test_a_pid_and_a_pointer_that_were_another_s_are_another_connection(stage: Stage) -> None:
    """Without randomisation of addresses the second has its TLS object where the first had its."""
    still = ("setarch", "-R")
    with stage.program("first", None, *still) as first:
        first.do("load", "connect", "send 5")
    for attempt in range(100):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(first.pid - 1))
        with stage.program(f"second{attempt}", None, *still) as second:
            if second.pid == first.pid:
                second.do("load", "connect", "send 5")
        if second.pid == first.pid:
            break
    else:
        pytest.fail("no process got the pid of the first")
    found = [stage.witnessed(one) for one in (first, second)]
    assert [numbers(mine) for mine in found] == [[*range(5)]] * 2
    assert {s.witness.source.pid for mine in found for s in mine} == {first.pid}
    connections = [{s.witness.connection.id for s in mine} for mine in found]
    assert [len(mine) for mine in connections] == [1, 1]
    assert connections[0] != connections[1]
