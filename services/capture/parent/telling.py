"""When coverage is said: at once after a change, a few times a second at most, and now and then.

Knows the bus and how much one message may be; not what is said.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from services import subjects
from services.bus import Bus, Outgoing
from services.capture.parent.fitting import fitting
from services.capture.settings import Settings
from services.messages import Coverage

MOST, WITHIN = 2, 0.5  # so many times within so many seconds


class Telling:
    """`coverage` is asked for what is said."""

    def __init__(self, bus: Bus, settings: Settings, coverage: Callable[[], Coverage]) -> None:
        self._bus, self._coverage = bus, coverage
        self._subject = subjects.coverage(settings.node)
        self._seconds = settings.coverage_seconds
        self._news = asyncio.Event()
        self._told = deque[float](maxlen=MOST)
        self._cut = 0

    def changed(self) -> None:
        self._news.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    await self._news.wait()
            except TimeoutError:
                pass
            await self._rest()
            self._news.clear()
            await self._tell()

    async def _rest(self) -> None:
        now = asyncio.get_running_loop().time()
        if len(self._told) == MOST and now < self._told[0] + WITHIN:
            await asyncio.sleep(self._told[0] + WITHIN - now)
        self._told.append(asyncio.get_running_loop().time())

    async def _tell(self) -> None:
        whole = self._coverage()
        told = fitting(whole, self._bus.max_payload)
        self._cut += told is not whole
        await self._bus.publish(Outgoing(self._subject, msgspec.json.encode(told)))

    def counters(self) -> dict[str, int]:
        return {"coverage_cut": self._cut}
