"""A fresh server and all services at once: whoever declares first, nobody fails. The races are in
the server, which for a moment has a stream that it refuses to others and takes nothing into."""

from __future__ import annotations

import asyncio

from services import bus
from services.settings import SharedSettings
from services.telemetry import Telemetry
from tests.support.nats_server import NatsServer


async def test_many_services_set_the_bus_up_at_once(nats_server: NatsServer) -> None:
    settings = SharedSettings(nats_url=nats_server.url)

    connected = await asyncio.gather(
        *(bus.connect(settings, f"service-{n}", Telemetry()) for n in range(12))
    )

    for each in connected:
        await each.close()
