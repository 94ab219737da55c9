"""How many of the revisions that a snapshot waits for have come, and which they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Arrivals:
    """How many of the expected revisions have come."""

    def __init__(self) -> None:
        self._expected = 0
        self._come = 0
        self._some = asyncio.Event()

    def one_more(self, revisions: list[int], number: int) -> Callable[[int], None]:
        self._expected += 1

        def stored(revision: int) -> None:
            revisions[number] = revision
            self._come += 1
            self._some.set()

        return stored

    def complete(self) -> bool:
        return self._come >= self._expected

    async def wait(self, seconds: float) -> None:
        self._some.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._some.wait()
        except TimeoutError:
            pass
