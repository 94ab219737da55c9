"""Tells discovery of processes that have mapped something new, some milliseconds after they did.

The loop of it. It sleeps until the kernel says that something was mapped, and rests in proportion
to what reading that has cost, so that it takes at most some percent of a core.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from services.capture.channel import Sighted
from services.capture.child.loaded import Kernel
from services.capture.child.mappings import Mappings
from services.capture.child.novelty import Novelty
from services.capture.layout import Verdict
from services.messages import Sighting, Target

log = logging.getLogger("plainwire.capture")
REST = 0.005  # seconds: what a program's start maps comes together
REST_SHARE = 50  # times what the last look has cost
_GONE = 1 << 31  # from there on it is -1, as it was read


class Sighter:
    """`default` is the verdict of processes that have none of their own."""

    def __init__(self, kernel: Kernel, default: Verdict, tell: Callable[[Sighted], None]) -> None:
        self._kernel, self._default, self._tell = kernel, default, tell
        self._novelty = Novelty()

    def forget(self, target: Target) -> None:
        """It is not probed any more."""
        self._novelty.forget(target.identity.inode)

    async def run(self) -> None:
        """For ever, or not at all where this kernel does not tell of mappings."""
        try:
            mappings = Mappings()
        except OSError as error:
            log.warning("new files are found by scans alone: %s", error.strerror)
            return
        try:
            while True:
                await _written(mappings)
                await asyncio.sleep(REST)
                begun = time.thread_time()
                self._look(mappings)
                await asyncio.sleep(REST_SHARE * (time.thread_time() - begun))
        finally:
            mappings.close()

    def _look(self, mappings: Mappings) -> None:
        mapped = ((pid, file) for pid, file in mappings.take() if self._included(pid))
        found = self._novelty.receive(mapped, time.monotonic())
        if found:
            sightings = tuple(Sighting(pid=pid) for pid in found)
            self._tell(Sighted(sightings, self._novelty.refused, mappings.missed))

    def _included(self, pid: int) -> bool:
        """The kernel numbers a process outside of our namespace 0, and one that is gone -1."""
        if not 0 < pid < _GONE:
            return False
        return (self._kernel.memory.marks.verdict(pid) or self._default) is Verdict.INCLUDE


async def _written(mappings: Mappings) -> None:
    loop, woken = asyncio.get_running_loop(), asyncio.Event()
    for descriptor in mappings.descriptors:
        loop.add_reader(descriptor, woken.set)
    try:
        if not mappings.waiting():  # what came before they were watched does not wake
            await woken.wait()
    finally:
        for descriptor in mappings.descriptors:
            loop.remove_reader(descriptor)
