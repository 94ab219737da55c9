"""What the child sights, told to discovery: hints on core NATS, none of which is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import nats.errors

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
        while True:
            for piece in pieces(self._node, await self._waiting.get(), self._bus.max_payload):
                told = await self._publish(piece)
                self._told += len(piece.sightings) if told else 0
                self._dropped += 0 if told else len(piece.sightings)

    async def _publish(self, piece: Sightings) -> bool:
        """False where the bus is away, or takes no message of this size."""
        payload = msgspec.json.encode(piece)
        if not self._bus.connected or len(payload) > self._bus.max_payload:
            return False
        try:
            await self._bus.client.publish(subjects.sightings(self._node), payload)
        except nats.errors.Error:
            return False
        return True

    def counters(self) -> dict[str, int]:
        return {
            "sightings": self._told,
            "sightings_dropped": self._dropped,
            "sightings_refused": self._refused,
            "mappings_missed": self._missed,
        }


def pieces(node: str, sightings: tuple[Sighting, ...], max_bytes: int) -> Iterator[Sightings]:
    """As few messages as have room for them; one that alone is too large is alone."""
    empty = len(msgspec.json.encode(Sightings(node=node, sightings=())))
    taken, room = list[Sighting](), max_bytes - empty
    for sighting in sightings:
        size = len(msgspec.json.encode(sighting)) + 1
        if taken and size > room:
            yield Sightings(node=node, sightings=tuple(taken))
            taken, room = [], max_bytes - empty
        taken.append(sighting)
        room -= size
    if taken:
        yield Sightings(node=node, sightings=tuple(taken))
