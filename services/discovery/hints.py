"""What capture has sighted since the last look. Waits for it, or for the next scan to be due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import msgspec

from services.messages import Sighting, Sightings

MOST = 1024  # processes; beyond them a scan of all is due


class Hints:
    def __init__(self) -> None:
        self._pids: set[int] | None = set()
        self._heard = asyncio.Event()
        self._wired: list[Sighting] = []
        self.wired_dropped = 0

    def hear(self, payload: bytes) -> None:
        """A hint that names nobody asks for a scan of all."""
        try:
            sightings = msgspec.json.decode(payload, type=Sightings).sightings
            self._add(s for s in sightings if s.kind == "tls_on_wire")
            pids = {sighting.pid for sighting in sightings}
        except (msgspec.DecodeError, ValueError):
            pids = set()
        if not pids or self._pids is None or len(self._pids) + len(pids) > MOST:
            self._pids = None
        else:
            self._pids |= pids
        self._heard.set()

    def wired(self) -> list[Sighting]:
        """What was sighted on the wire since the last call."""
        found, self._wired = self._wired, []
        return found

    def _add(self, wired: Iterable[Sighting]) -> None:
        """The latest are kept; capture tells the others again."""
        self._wired += wired
        excess = max(0, len(self._wired) - MOST)
        del self._wired[:excess]
        self.wired_dropped += excess

    async def wait(self, due: float) -> frozenset[int] | None:
        """The processes to look at; None for all, at the latest when that is due (monotonic)."""
        try:
            async with asyncio.timeout(max(0.0, due - time.monotonic())):
                await self._heard.wait()
        except TimeoutError:
            self._pids = None
        found, self._pids = self._pids, set()
        self._heard.clear()
        return None if found is None else frozenset(found)
