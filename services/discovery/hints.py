"""What capture has sighted since the last look. Waits for it, or for the next scan to be due."""

from __future__ import annotations

import asyncio
import time

import msgspec

from services.messages import Sightings

MOST = 1024  # processes; beyond them a scan of all is due


class Hints:
    def __init__(self) -> None:
        self._pids: set[int] | None = set()
        self._heard = asyncio.Event()

    def hear(self, payload: bytes) -> None:
        """A hint that names nobody asks for a scan of all."""
        try:
            pids = {s.pid for s in msgspec.json.decode(payload, type=Sightings).sightings}
        except (msgspec.DecodeError, ValueError):
            pids = set()
        if not pids or self._pids is None or len(self._pids) + len(pids) > MOST:
            self._pids = None
        else:
            self._pids |= pids
        self._heard.set()

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
