"""Outputs on their way to the bus, and which messages have all of theirs stored.

Knows neither shards nor the bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from services.bus import Outgoing


class Outbox:
    """Outputs that the bus has not stored yet, by message and place, in order."""

    def __init__(self) -> None:
        self.messages = 0
        self._waiting: dict[tuple[int, int], Outgoing] = {}
        self.changed = asyncio.Event()

    def add(self, outputs: list[Outgoing]) -> None:
        self.messages += 1
        for place, out in enumerate(outputs):
            self._waiting[self.messages, place] = out

    def stored(self, at: tuple[int, int]) -> None:
        self._waiting.pop(at, None)
        self.changed.set()

    def done(self) -> int:
        """So many messages, from the first, have all their outputs stored."""
        first = next(iter(self._waiting), None)
        return self.messages if first is None else first[0] - 1

    def waiting(self, messages: int) -> Iterator[tuple[tuple[int, int], Outgoing]]:
        """Of all messages from this one on; a copy, as it is emptied meanwhile."""
        yield from [item for item in self._waiting.items() if item[0][0] >= messages]
