"""Outputs on their way to the bus, and which messages have all of theirs stored.

Knows neither shards nor the bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from services.bus import Outgoing


class Outbox:
    """Outputs that the bus has not stored yet, by message and place, in order."""

    def __init__(self) -> None:
        self.messages = 0
        self._outputs = 0
        self._waiting: dict[tuple[int, int], tuple[int, Outgoing]] = {}
        self.changed = asyncio.Event()

    def add(self, outputs: list[Outgoing]) -> None:
        self.messages += 1
        for place, out in enumerate(outputs):
            self._outputs += 1
            self._waiting[self.messages, place] = self._outputs, out

    def stored(self, at: tuple[int, int]) -> None:
        self._waiting.pop(at, None)
        self.changed.set()

    def done(self) -> int:
        """So many messages, from the first, have all their outputs stored."""
        first = next(iter(self._waiting), None)
        return self.messages if first is None else first[0] - 1

    def waiting(self, messages: int) -> Iterator[tuple[tuple[int, int], Outgoing]]:
        """Of all messages from this one on, each with how far behind it the first is that is not
        stored; of a copy, as this is emptied meanwhile."""
        for at, (number, out) in list(self._waiting.items()):
            if at[0] >= messages:
                first, _ = next(iter(self._waiting.values()), (number, out))
                yield at, replace(out, behind=max(number - first, 0))
