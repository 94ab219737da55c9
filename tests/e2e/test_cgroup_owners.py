"""The container of a process that has ended before anybody asked: by its cgroup's number."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.capture.child import owners
from services.capture.child.owners import Owners
from services.messages import Container

IDENTITY = secrets.token_hex(32)  # runs of the tests may meet


@pytest.fixture
def cgroup() -> Iterator[Path]:
    found = next(
        (root for root in owners.MOUNTS if (Path(root) / "cgroup.subtree_control").exists()), None
    )
    if found is None:
        pytest.skip("needs cgroup version 2, mounted")
    folder = Path(found) / f"docker-{IDENTITY}.scope"
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()


def ended_in(cgroup: Path) -> int:
    """The pid of a process that lived there and is gone."""
    script = f"echo $$ > {cgroup}/cgroup.procs"
    with subprocess.Popen(["sh", "-c", script]) as process:
        assert process.wait(20) == 0
    return process.pid


def test_a_process_that_has_ended_was_in_its_cgroups_container(cgroup: Path) -> None:
    number = cgroup.stat().st_ino
    pid = ended_in(cgroup)
    assert owners.path_of(number).endswith(f"docker-{IDENTITY}.scope")
    assert Owners().of(pid, number) == Container(id=IDENTITY)


def test_what_was_learnt_of_a_cgroup_outlives_it(cgroup: Path) -> None:
    number, asked = cgroup.stat().st_ino, Owners()
    asked.of(ended_in(cgroup), number)
    cgroup.rmdir()
    try:
        assert owners.path_of(number) == ""
        asked.known = {IDENTITY: Container(id=IDENTITY, name="web", image="nginx:1")}
        assert asked.of(ended_in(cgroup.parent), number).name == "web"
    finally:
        cgroup.mkdir()


def test_a_process_that_has_moved_does_not_take_its_old_cgroup_along(cgroup: Path) -> None:
    """What /proc says is of now; the number is of when the connection began."""
    asked = Owners()
    other = cgroup.with_name(f"docker-{'d0' * 32}.scope")
    other.mkdir()
    try:
        script = f"echo $$ > {other}/cgroup.procs && echo && read _"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(["sh", "-c", script], **pipes) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            assert asked.of(process.pid, cgroup.stat().st_ino).id == IDENTITY
            assert asked.of(process.pid, other.stat().st_ino).id == "d0" * 32
    finally:
        other.rmdir()
