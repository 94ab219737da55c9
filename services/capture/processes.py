"""Which processes are captured, told to the kernel's filter before it takes over on fork.

Reads /proc for what exists already: descendants of the roots, and names.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from services.capture.channel import Begin
from services.capture.layout import Verdict
from services.capture.loaded import Kernel

PROC = Path("/proc")
MOST_ROUNDS = 10


def default_verdict(pids: tuple[int, ...]) -> Verdict:
    return Verdict.EXCLUDE if pids else Verdict.INCLUDE


def enter(kernel: Kernel, begin: Begin) -> None:
    """The kernel's programs already follow forks: a child that the scan misses has inherited."""
    kernel.set_classes(begin.classes)
    name_all(kernel)
    for roots, verdict in (
        (begin.pids, Verdict.INCLUDE),
        (begin.exclude_pids, Verdict.EXCLUDE),
    ):
        known: set[int] = set()
        for _ in range(MOST_ROUNDS):
            found = descendants(roots)
            if found <= known:
                break
            for pid in found - known:
                kernel.memory.set_verdict(pid, verdict)
            known |= found
    kernel.memory.set_verdict(begin.parent, Verdict.EXCLUDE)
    kernel.memory.set_verdict(os.getpid(), Verdict.CANARY)


def name_all(kernel: Kernel) -> None:
    """With their classes."""
    for pid in pids():
        comm = _read(pid, "comm")
        if comm:
            kernel.name(pid, comm.rstrip("\n"))


def descendants(roots: tuple[int, ...]) -> set[int]:
    """The roots that live, and everything below them."""
    if not roots:
        return set()
    children: dict[int, list[int]] = defaultdict(list)
    for pid in pids():
        parent = parent_of(_read(pid, "stat"))
        if parent is not None:
            children[parent].append(pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if (PROC / str(pid)).exists()]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children[pid]
    return found


def pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdecimal()]


def parent_of(stat: str) -> int | None:
    """The fourth field; the second, the name in brackets, may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else None


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""
