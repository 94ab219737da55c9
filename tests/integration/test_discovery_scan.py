"""A scan of real processes: how a library that one has mapped is reached, whatever became of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from services.discovery import inventory
from services.discovery.files import Files
from services.discovery.inventory import Seen
from services.discovery.processes import Scan
from services.discovery.system import SystemLibraries

LOADS = (
    "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print('loaded', flush=True); sys.stdin.read()"
)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    if not (paths := SystemLibraries().tls_paths()):
        pytest.skip("no libssl on this host")
    copy = tmp_path / "libssl.so.3"
    shutil.copy(paths[0], copy)
    return copy


@contextmanager
def process_with(library: Path, *before: str) -> Iterator[int]:
    command = [*before, sys.executable, "-c", LOADS, str(library)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loaded\n"
        yield process.pid
        process.communicate()


def seen(pid: int) -> Seen:
    return next(process for process in Scan(Files()).look() if process.pid == pid)


def test_a_process_is_seen_with_its_library_by_the_hosts_path(library: Path) -> None:
    with process_with(library) as pid:
        process = seen(pid)
    assert [reach.path for reach in process.reaches] == [str(library)]
    assert process.process.startswith("python")
    assert process.start_boot_ns > 0
    assert process.reaches[0].finding.sites


@pytest.mark.parametrize("successor", ["", "/bin/true"], ids=["deleted", "replaced"])
def test_a_library_that_lost_its_name_is_reached_through_its_mapping(
    library: Path, successor: str
) -> None:
    inode = library.stat().st_ino
    with process_with(library) as pid:
        library.unlink()
        if successor:
            shutil.copy(successor, library)
        reach = seen(pid).reaches[0]
        assert reach.path.startswith(f"/proc/{pid}/map_files/")
        assert (reach.name, reach.finding.identity.inode) == (str(library), inode)
        assert reach.finding.sites


def test_a_process_that_ended_is_gone_from_the_next_look(library: Path) -> None:
    scan = Scan(Files())
    with process_with(library) as pid:
        assert pid in {process.pid for process in scan.look()}
    assert pid not in {process.pid for process in scan.look()}


def test_a_second_look_opens_no_file(library: Path) -> None:
    files = Files()
    scan = Scan(files)
    with process_with(library) as pid:
        scan.look([pid])
        before = files.resolved
        scan.look([pid])
    assert files.resolved == before


def test_one_file_by_many_paths_is_one_target(library: Path, tmp_path: Path) -> None:
    """A hard link, a link, and a bind mount in a mount namespace of its own."""
    hard, linked, bound = (tmp_path / name / library.name for name in ("hard", "linked", "bound"))
    for path in (hard, linked, bound):
        path.parent.mkdir()
    os.link(library, hard)
    linked.symlink_to(library)
    bound.touch()
    binding = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    mounted = ("unshare", "-m", "sh", "-c", binding, "sh", str(library), str(bound))
    with ExitStack() as running:
        pids = {running.enter_context(process_with(p)) for p in (library, hard, linked)}
        if os.geteuid() == 0:
            pids.add(running.enter_context(process_with(bound, *mounted)))
        found = [process for process in Scan(Files()).look() if process.pid in pids]
    state = inventory.targets("here", 0, (), found)
    names = {target.name for target in state.targets if "libssl" in target.name}
    assert len(names) == 1
    assert len({process.target for process in state.processes}) == 1
    assert {process.pid for process in state.processes} == pids
