"""What three servers make of a duplicate, without any of our services: messages are published and
purged, the leader is killed and comes back empty, and some of the messages are sent again.

With nats-server 2.9.10 the replica that came back stores them, and the others don't.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import nats
import nats.errors
from nats.js import JetStreamContext
from nats.js.api import PubAck, StorageType, StreamConfig
from nats.js.errors import Error

from services.publishing import MESSAGE_ID
from tests.support.nats_cluster import NatsCluster

STREAM, SUBJECT = "S", "s.a"
COUNT = 10


def run(_: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, NatsCluster(Path(folder)) as cluster:
        asyncio.run(_compare(cluster))


async def _compare(cluster: NatsCluster) -> None:
    client = await nats.connect(cluster.urls, max_reconnect_attempts=-1, reconnect_time_wait=0.2)
    js = client.jetstream()
    wanted = StreamConfig(STREAM, subjects=["s.>"], storage=StorageType.MEMORY, num_replicas=3)
    await js.add_stream(wanted, duplicate_window=120)
    for number in range(COUNT):
        await _publish(js, number)
    await asyncio.to_thread(cluster.wait_ready)
    await js.purge_stream(STREAM, subject=SUBJECT, seq=COUNT + 1)
    leader = await asyncio.to_thread(cluster.leader_of, STREAM)
    cluster.kill(leader)
    await asyncio.to_thread(cluster.leader_of, STREAM)
    await asyncio.sleep(3.0)
    cluster.start(leader)
    await asyncio.to_thread(cluster.wait_ready)
    for number in range(COUNT // 2, COUNT):
        assert (await _publish(js, number)).duplicate
    stored = await _publish(js, COUNT)
    await asyncio.to_thread(cluster.wait_ready)
    ends = cluster.ends_of(STREAM)
    await client.close()
    assert ends == [stored.seq] * len(ends), f"the servers' last sequences differ: {ends}"


async def _publish(js: JetStreamContext, number: int) -> PubAck:
    async with asyncio.timeout(20):
        while True:
            try:
                return await js.publish(SUBJECT, b"", headers={MESSAGE_ID: str(number)})
            except (Error, nats.errors.Error):
                await asyncio.sleep(0.2)
