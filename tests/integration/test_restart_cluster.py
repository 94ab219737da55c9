"""Three servers with R3 streams: the leader is killed and started again under load, and nothing is
lost and nothing is there twice. Twice here, twenty times in scripts/soak. A leader is killed only
once the one before is back and holds again what it had in memory: three replicas survive one
failure, and a server that is filling up is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats

from services import bus as buses
from services import subjects
from services.settings import SharedSettings
from services.telemetry import Telemetry
from tests.integration.test_restart import SERVICES, SHARDS, Line
from tests.support import replicas
from tests.support.feeding import Feed, Following
from tests.support.nats_cluster import KILLS, NatsCluster

RATE = 50.0
STREAMS = (subjects.RAW, subjects.FRAMES, subjects.WITNESSES, "KV_plainwire_state")


@asynccontextmanager
async def line(cluster: NatsCluster, folder: Path) -> AsyncIterator[Line]:
    settings = SharedSettings(nats_url=cluster.url, shards=SHARDS, nats_replicas=3)
    bus = await buses.connect(settings, "test", Telemetry())
    client = await nats.connect(cluster.urls, max_reconnect_attempts=-1, reconnect_time_wait=0.2)
    three = {"PLAINWIRE_NATS_REPLICAS": "3"}
    with replicas.running(cluster.url, folder, SHARDS, **three) as running:
        async with asyncio.TaskGroup() as tasks:
            background = tasks.create_task(bus.run())
            found = Line(bus, client, Feed(bus, SHARDS), running)
            for service in SERVICES:
                await found.until_owned(service, SHARDS)
            yield found
            background.cancel()
    await client.close()
    await bus.close()


async def test_leaders_are_killed_under_load(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    with NatsCluster(tmp_path / "cluster") as cluster:
        async with line(cluster, tmp_path) as running, asyncio.TaskGroup() as tasks:
            feeding_now = tasks.create_task(running.feed.run(RATE, 3600.0))
            following = Following(running.bus)
            reading = tasks.create_task(following.run())
            for number in range(KILLS):
                await asyncio.sleep(2.0)
                stream = STREAMS[number % len(STREAMS)]
                leader = await asyncio.to_thread(cluster.leader_of, stream)
                cluster.kill(leader)
                await asyncio.sleep(3.0)
                cluster.start(leader)
                await asyncio.to_thread(cluster.wait_ready)
            running.feed.stop()
            await feeding_now
            await running.all_witnessed_once(following)
            reading.cancel()
