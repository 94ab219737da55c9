"""Once a second: what capturing costs and what waits behind it, and the share that this allows.

The shell around `shedding`: CPU from the clock of both processes, the streams' state from the bus,
the shares into the page that the programs read.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from services import subjects
from services.bus import Bus, StreamState
from services.capture.layout import TAKEN, WITHHELD
from services.capture.memory import Memory
from services.capture.parent import shedding
from services.capture.parent.allowances import Class
from services.capture.parent.shedding import HIGH, WHOLE, Backlog, Controller, Sample
from services.capture.parent.sums import Sums
from services.capture.settings import Settings

SECOND = 1.0
PACE_OVER = 10  # seconds
STREAMS = (subjects.RAW, subjects.FRAMES)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Moment:
    """What is cumulative."""

    at: float
    cpu: float
    sums: Sums


class Budget:
    """`sums` are cumulative; `host` gives the memory and the process of the child that lives."""

    def __init__(
        self,
        bus: Bus,
        settings: Settings,
        sums: Callable[[], Sums],
        host: Callable[[], tuple[Memory, int] | None],
    ) -> None:
        self._bus, self._settings, self._sums, self._host = bus, settings, sums, host
        self.node = Controller(most=float(settings.budget_mib << 20))
        self.classes: tuple[Class, ...] = ()
        self._paces = {name: Pace() for name in STREAMS}
        self.load = 0.0

    async def run(self) -> None:
        """For ever."""
        before = self._moment()
        while True:
            await asyncio.sleep(SECOND)
            backlogs = await self._backlogs()
            now = self._moment()
            if (host := self._host()) is not None and now.cpu >= before.cpu:
                sample = self._sample(before, now, backlogs)
                if self._settings.shed:
                    self._apply(host[0], sample, now.at - before.at)
            before = now

    def _moment(self) -> Moment:
        host = self._host()
        cpu = time.process_time() + (cpu_of(host[1]) if host else 0.0)
        return Moment(time.monotonic(), cpu, self._sums())

    def _sample(self, before: Moment, now: Moment, backlogs: tuple[Backlog, ...]) -> Sample:
        seconds = now.at - before.at
        cpu = 100 * (now.cpu - before.cpu) / seconds
        self.load = HIGH * cpu / self._settings.cpu_percent
        torn = _torn(now.sums) - _torn(before.sums)
        return Sample(
            load=self.load,
            seen=(now.sums.seen - before.sums.seen) / seconds,
            torn=torn / seconds,
            admitted=(now.sums.submitted - before.sums.submitted) / seconds,
            backlogs=backlogs,
        )

    def _apply(self, memory: Memory, sample: Sample, seconds: float) -> None:
        share = self.node.second(sample)
        memory.shared[WITHHELD] = WHOLE - share
        for number, one in enumerate(self.classes, 1):
            taken = memory.shared[TAKEN + number]
            own = one.second(taken, seconds)
            memory.shared[WITHHELD + number] = WHOLE - shedding.of_class(share, own, one.priority)

    async def _backlogs(self) -> tuple[Backlog, ...]:
        """None of a bus that is away: what waits then is the spool's."""
        found = []
        for name in STREAMS:
            state = await self._bus.state(name)
            if state is not None:
                found.append(self._paces[name].backlog(state, time.time()))
        return tuple(found)


@dataclass(slots=True)
class Pace:
    """How fast a stream is read, over some seconds: what is read is removed in lumps."""

    _looks: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=PACE_OVER + 1))

    def backlog(self, state: StreamState, now: float) -> Backlog:
        oldest = now - state.lag
        self._looks.append((now, oldest))
        since, oldest_then = self._looks[0]
        pace = max(0.0, oldest - oldest_then) / max(now - since, SECOND)
        return Backlog(state.fill, state.lag, pace)


def cpu_of(pid: int) -> float:
    """Seconds that a process has used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _torn(sums: Sums) -> int:
    return sums.lost.ring_full + sums.lost.ring_refused
