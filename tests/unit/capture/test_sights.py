"""Sightings as messages: of what size, and what becomes of those that the bus doesn't take."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec
import nats.errors
import pytest

from services.bus import Bus
from services.capture.parent.sights import Sights, pieces
from services.messages import Sighting, Sightings

SMALL = tuple(Sighting(pid=pid, executable="/bin/app") for pid in range(100))
HUGE = Sighting(pid=1000, executable="/" * 5000)


class Client:
    """Of a bus whose messages may have 1,000 bytes."""

    max_payload, connected = 1000, True

    def __init__(self, error: Exception | None = None) -> None:
        self.client, self._error, self.sent = self, error, list[bytes]()

    async def publish(self, subject: str, payload: bytes) -> None:
        assert subject == "plainwire.sightings.n"
        if self._error is not None:
            raise self._error
        self.sent.append(payload)


async def told(client: Client, *sightings: Sighting) -> dict[str, int]:
    sights = Sights(cast("Bus", client), "n")
    sights.tell(sightings)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(sights.run())
        while sum(sights.counters().values()) < len(sightings):  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0)
        running.cancel()
    return sights.counters()


def test_sightings_are_split_into_messages_that_fit() -> None:
    found = list(pieces("n", SMALL, 1000))
    assert [s for piece in found for s in piece.sightings] == list(SMALL)
    sizes = [len(msgspec.json.encode(piece)) for piece in found]
    assert max(sizes) <= 1000
    assert min(sizes[:-1]) > 900


def test_what_fits_is_one_message() -> None:
    (found,) = pieces("n", SMALL, 100_000)
    assert found == Sightings(node="n", sightings=SMALL)
    assert list(pieces("n", (), 1000)) == []


async def test_what_is_too_large_alone_is_dropped_and_counted() -> None:
    client = Client()
    counters = await told(client, *SMALL[:10], HUGE, *SMALL[10:20])
    assert (counters["sightings"], counters["sightings_dropped"]) == (20, 1)
    found = [msgspec.json.decode(data, type=Sightings).sightings for data in client.sent]
    assert sum(found, ()) == SMALL[:20]


@pytest.mark.parametrize(
    "error", [nats.errors.MaxPayloadError(), nats.errors.OutboundBufferLimitError()]
)
async def test_a_refusal_of_the_client_ends_nothing(error: Exception) -> None:
    counters = await told(Client(error), *SMALL)
    assert (counters["sightings"], counters["sightings_dropped"]) == (0, 100)
