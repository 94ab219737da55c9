"""The fixture itself: the server is real, keeps its address over a kill, and keeps its files."""

from __future__ import annotations

import nats
from nats.js.api import StorageType, StreamConfig

from tests.support.nats_server import NatsServer


async def test_a_file_stream_survives_a_killed_server(nats_server: NatsServer) -> None:
    url = nats_server.url
    client = await nats.connect(url)
    await client.jetstream().add_stream(
        StreamConfig(name="KEPT", subjects=["kept.>"], storage=StorageType.FILE)
    )
    await client.jetstream().publish("kept.one", b"1")
    await client.close()

    nats_server.kill()
    nats_server.start()

    assert nats_server.url == url
    client = await nats.connect(url)
    assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
    await client.close()
