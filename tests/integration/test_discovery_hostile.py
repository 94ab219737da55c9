"""What strangers may put in discovery's way: files that ask for much work, that change while they
are read, that no bus could name. It costs at most a second, and never the service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.discovery.files import Files
from services.discovery.scanning import Discovery
from services.discovery.settings import Settings
from services.messages import Targets
from tests.support import pipeline
from tests.support.hostile_files import KINDS
from tests.support.tls_code import BODIES, CONTENT

MOST = 1.0  # seconds of CPU
LOADS = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print(flush=True); sys.stdin.read()"
NAMES = ["line\nbreak", "\x1b[31mred\x07", b"no \xff utf-8", "a" * 255, " (deleted)", "quote\"'\\"]


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_file_that_asks_for_much_costs_at_most_a_second(
    make: Callable[[Path, dict[str, bytes]], None], tmp_path: Path
) -> None:
    library = tmp_path / "libssl.so.3"
    make(library, BODIES)
    files = Files()
    begun = time.thread_time()
    finding = files.find(str(library))
    assert time.thread_time() - begun < MOST
    assert finding is not None
    assert finding.sites or finding.reason
    assert files.find(str(library)) is finding


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.binary(min_size=1, max_size=9))),
    st.one_of(st.none(), st.integers(0, len(CONTENT))),
)
def test_a_mutated_library_is_read_or_refused(
    edits: list[tuple[int, bytes]], cut: int | None
) -> None:
    content = bytearray(CONTENT)
    for at, changed in edits:
        content[at : at + len(changed)] = changed
    descriptor = os.memfd_create("mutated")
    try:
        os.write(descriptor, content[:cut])
        begun = time.thread_time()
        finding = Files().find(f"/proc/self/fd/{descriptor}")
        assert time.thread_time() - begun < MOST
        assert finding is not None
        for site in finding.sites:
            assert 0 <= site.offset < len(content)
    finally:
        os.close(descriptor)


def test_a_file_that_changes_while_it_is_read_is_read_or_refused(tmp_path: Path) -> None:
    library, ended = tmp_path / "libssl.so.3", threading.Event()

    def change() -> None:
        while not ended.is_set():
            library.write_bytes(CONTENT)
            os.truncate(library, len(CONTENT) // 2)
            os.truncate(library, 0)

    library.write_bytes(CONTENT)
    changing = threading.Thread(target=change)
    changing.start()
    try:
        files, deadline = Files(), time.monotonic() + 1
        while time.monotonic() < deadline:
            files.find(str(library))
    finally:
        ended.set()
        changing.join()
    assert files.resolved > 1


def test_names_that_no_bus_could_carry_are_told_as_they_can_be(tmp_path: Path) -> None:
    """By processes that live, with the library probed wherever it is."""
    pids = []
    with ExitStack() as running:
        for name in NAMES:
            library = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), os.fsencode(name))))
            library.mkdir()
            shutil.copy(pipeline.system_libssl(), library / "libssl.so.3")
            command = [sys.executable, "-c", LOADS, library / "libssl.so.3"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            running.callback(process.communicate)
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            pids.append(process.pid)
        discovery = Discovery(Settings(node="here"), 8 << 20)
        told = msgspec.json.decode(discovery.message(discovery.look()), type=Targets)
        covered = {process.pid: process.target for process in told.processes}
        targets = {target.identity.key(): target for target in told.targets}
        for pid in pids:
            assert os.stat(targets[covered[pid]].path).st_size > 0
    assert len({covered[pid] for pid in pids}) == len(NAMES)
