"""Says, once for each process, that its TLS isn't captured: from coverage, as it changes."""

from __future__ import annotations

import asyncio
import time

import msgspec

from services import subjects
from services.bus import Bus
from services.cli.output import say
from services.cli.overview import Uncaptured
from services.cli.tasks import beside
from services.messages import Coverage

NAMED_WITHIN = 2.5  # seconds after the end of what is run
HELD = 1.0  # second: as often is looked whether what is held back still holds
_POLL = 0.05
_decoder = msgspec.json.Decoder(Coverage)


class Missed:
    def __init__(self, bus: Bus, node: str) -> None:
        self._bus, self._subject = bus, subjects.coverage(node)
        self._uncaptured = Uncaptured()
        self._last: Coverage | None = None

    async def run(self) -> None:
        """For ever."""
        await beside(self._follow(), self._say_what_was_held())

    async def _follow(self) -> None:
        async for incoming in self._bus.latest(subjects.COVERAGE, self._subject):
            if (coverage := _read(incoming.payload)) is not None:
                self._last = coverage
                self._say(coverage)

    async def _say_what_was_held(self) -> None:
        while True:
            await asyncio.sleep(HELD)
            if self._last is not None and self._uncaptured.pending:
                self._say(self._last)

    async def finish(self) -> None:
        """What was seen last is named, or it is said that it isn't."""
        deadline = asyncio.get_running_loop().time() + NAMED_WITHIN
        while True:
            found = await self._bus.last(subjects.COVERAGE, self._subject)
            coverage = _read(found.payload) if found else None
            if coverage is None:
                return
            self._say(coverage)
            if not self._uncaptured.pending or asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_POLL)
        for line in self._uncaptured.unnamed(coverage):
            say(line)

    def _say(self, coverage: Coverage) -> None:
        for line in self._uncaptured.news(coverage, time.time_ns()):
            say(line)


def _read(payload: bytes) -> Coverage | None:
    """None where somebody else has written there."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
