"""Our own child processes, and everybody's descendants.

A child of ours has its own session, dies with us, reads nothing and writes to a log file. Reaping
is done in one place, because a subreaper also gets the children of others.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services import linux, procfs
from services.cli.launcher import restore_signals


@dataclass(frozen=True)
class Program:
    """What to start, with which environment, and the file that gets its stdout and stderr."""

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]
    log: Path


def spawn(program: Program) -> int:
    """Only from the main thread: the parent-death signal follows the thread that forked."""
    parent = os.getpid()
    log = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    pid = os.fork()
    if pid == 0:
        try:
            _become(program, parent, log)
        finally:
            os._exit(127)
    os.close(log)
    return pid


def _become(program: Program, parent: int, log: int) -> None:
    os.setsid()
    linux.die_with_parent()
    if os.getppid() != parent:  # it had died before the call
        os._exit(1)
    _leave_deleted_directory()
    restore_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, 1 << 20)
    os.execvpe(program.argv[0], list(program.argv), dict(program.environ))


def _leave_deleted_directory() -> None:
    """CMD may run there; compilers can't, and a relative path means nothing any more."""
    try:
        os.getcwd()
    except OSError:
        os.chdir("/")


def reap() -> dict[int, int]:
    """Every child that has ended: pid to wait status."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def last_words(log: Path) -> str:
    """The last line that a program of ours wrote: why it died."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""


@dataclass(frozen=True)
class Living:
    pid: int
    parent: int
    name: str


def living() -> list[Living]:
    """Every process but zombies, as /proc shows them now."""
    found = ((pid, procfs.stat(pid)) for pid in procfs.pids())
    return [Living(pid, s.parent, s.process) for pid, s in found if s and s.state not in "ZX"]


def descendants(processes: Iterable[Living], root: int, except_for: Iterable[int]) -> list[Living]:
    """Below `root`, without the trees that begin at `except_for`."""
    excluded, children = set(except_for), dict[int, list[Living]]()
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    found, waiting = list[Living](), [root]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child.pid not in excluded:
                found.append(child)
                waiting.append(child.pid)
    return sorted(found, key=lambda process: process.pid)
