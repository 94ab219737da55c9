"""`plainwire` as a user starts it, and what of it is on the machine: processes, ports, probes,
mounts, files. Knows nothing of what it prints."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.workload import ROOT

COMMAND = [sys.executable, "-m", "services.cli.main"]
SECONDS = 60
_BPF_PROG_GET_NEXT_ID = 11
_SYS_BPF = 321  # x86_64
# Where runtime files are left; /tmp is everybody's and changes by itself.
_TEMPORARY = ("/run", "/dev/shm", "/mnt", "/media")


def environ(**more: str) -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith("PLAINWIRE_")}
    return {**own, "PYTHONPATH": str(ROOT), **more}


def plainwire(
    *arguments: object, stdin: str | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Runs to its end. `more` goes into the environment."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=SECONDS,
        env=environ(**more),
        check=False,
    )


@contextlib.contextmanager
def started(*arguments: object, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Runs meanwhile, and is ended by Ctrl-C's signal at the latest."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ(**more),
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


# --- what is there --------------------------------------------------------------------------------


class Process(NamedTuple):
    pid: int
    parent: int
    name: str
    arguments: str


def process(pid: int) -> Process | None:
    """None where it ended, or is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        arguments = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    state, parent = rest.split()[:2]
    return None if state in "ZX" else Process(pid, int(parent), name, arguments)


def descendants(root: int) -> list[Process]:
    everybody = [
        p for entry in os.listdir("/proc") if entry.isdigit() and (p := process(int(entry)))
    ]
    found, waiting = list[Process](), [root]
    while waiting:
        parent = waiting.pop()
        for child in (p for p in everybody if p.parent == parent):
            found.append(child)
            waiting.append(child.pid)
    return found


def listening(pid: int) -> set[int]:
    """TCP ports that a process listens on."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(entry)
            inodes |= {target[8:-1]} if target.startswith("socket:[") else set()
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return {int(f[1].split(":")[1], 16) for f in fields if f[3] == "0A" and f[9] in inodes}


def bpf_programs() -> set[int]:
    """Ids of all BPF programs in the kernel."""
    libc, found, last = ctypes.CDLL(None, use_errno=True), set[int](), 0
    while True:
        attributes = ctypes.create_string_buffer(struct.pack("<III", last, 0, 0), 128)
        if libc.syscall(_SYS_BPF, _BPF_PROG_GET_NEXT_ID, attributes, 128) < 0:
            return found
        last = struct.unpack_from("<I", attributes.raw, 4)[0]
        found.add(last)


def held_programs() -> set[int]:
    """Ids of BPF programs that some process has open: somebody's, and not left behind."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/fdinfo/*"):
        with contextlib.suppress(OSError):
            text = path.read_text()
            if "prog_id:" in text:
                found.add(int(text.partition("prog_id:")[2].split()[0]))
    return found


def files() -> set[str]:
    """Entries of the directories where programs leave things."""
    return {f"{place}/{name}" for place in _TEMPORARY for name in os.listdir(place)}


def mounts() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Probes, mounts and files are afterwards as they were before. For processes: leftovers.py."""
    programs, places, mounted = bpf_programs(), files(), mounts()
    yield
    until(lambda: not bpf_programs() - programs - held_programs(), "BPF programs are left")
    until(lambda: not files() - places, f"files are left: {files() - places}", 5)
    assert mounts() == mounted
