"""Which processes are captured, told to the kernel's filter before it takes over on fork.

Reads /proc for what exists already: descendants of the roots, and names.
"""

from __future__ import annotations

import os
from collections import defaultdict

from services import procfs
from services.capture.channel import Begin
from services.capture.child.loaded import Kernel
from services.capture.layout import Verdict

MOST_ROUNDS = 10


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
                kernel.memory.marks.set_verdict(pid, verdict)
            known |= found
    kernel.memory.marks.set_verdict(begin.parent, Verdict.EXCLUDE)
    kernel.memory.marks.set_verdict(os.getpid(), Verdict.CANARY)


def name_all(kernel: Kernel) -> None:
    """With their classes."""
    for pid in procfs.pids():
        if status := procfs.stat(pid):
            kernel.name(pid, status.process)


def descendants(roots: tuple[int, ...]) -> set[int]:
    """The roots that live, and everything below them."""
    if not roots:
        return set()
    children: dict[int, list[int]] = defaultdict(list)
    alive = set()
    for pid in procfs.pids():
        if status := procfs.stat(pid):
            children[status.parent].append(pid)
            alive.add(pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if pid in alive]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children[pid]
    return found
