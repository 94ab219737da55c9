"""What the child sights, told to discovery: hints on core NATS, none of which is kept."""

from __future__ import annotations

import asyncio

import msgspec

from services import subjects
from services.bus import Bus
from services.capture.channel import Sighted
from services.messages import Sighting, Sightings

MOST_WAITING = 64  # messages; while the bus is away they are worth nothing


class Sights:
    def __init__(self, bus: Bus, node: str) -> None:
        self._bus, self._node = bus, node
        self._waiting = asyncio.Queue[tuple[Sighting, ...]](MOST_WAITING)
        self._told, self._dropped = 0, 0
        self._refused, self._missed = 0, 0

    def hear(self, sighted: Sighted) -> None:
        self._refused = max(self._refused, sighted.refused)
        self._missed = max(self._missed, sighted.missed)
        self.tell(sighted.sightings)

    def tell(self, sightings: tuple[Sighting, ...]) -> None:
        if not sightings:
            return
        if self._waiting.full():
            self._dropped += len(sightings)
        else:
            self._waiting.put_nowait(sightings)

    async def run(self) -> None:
        """For ever."""
        subject = subjects.sightings(self._node)
        while True:
            sightings = await self._waiting.get()
            message = Sightings(node=self._node, sightings=sightings)
            if self._bus.connected:
                await self._bus.client.publish(subject, msgspec.json.encode(message))
                self._told += len(sightings)
            else:
                self._dropped += len(sightings)

    def counters(self) -> dict[str, int]:
        return {
            "sightings": self._told,
            "sightings_dropped": self._dropped,
            "sightings_refused": self._refused,
            "mappings_missed": self._missed,
        }
