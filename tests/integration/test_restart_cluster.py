"""Three servers with R3 streams: the leader is killed and started again under load, and nothing is
lost and nothing is there twice. Twice here, twenty times in scripts/soak. A leader is killed only
once the one before is back and holds again what it had in memory: three replicas survive one
failure, and a server that is filling up is one.

On a version that is not safe as a cluster (services/clusters.py) each kill has a cluster of its
own, and the server stays away: a failure is survived there, the return is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import nats

from services import bus as buses
from services import subjects
from services.clusters import unsafe
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


@dataclass
class Loaded:
    """A cluster with the line on it, and exchanges that go on until they are counted."""

    cluster: NatsCluster
    running: Line
    following: Following
    feeding: asyncio.Task[None]

    @property
    def is_old(self) -> bool:
        version = self.running.client.connected_server_version
        return bool(unsafe((version.major, version.minor, version.patch), 3))

    async def kill_leader(self, number: int) -> int:
        await asyncio.sleep(2.0)
        stream = STREAMS[number % len(STREAMS)]
        leader = await asyncio.to_thread(self.cluster.leader_of, stream)
        self.cluster.kill(leader)
        await asyncio.sleep(3.0)
        return leader

    async def bring_back(self, server: int) -> None:
        self.cluster.start(server)
        await asyncio.to_thread(self.cluster.wait_ready)

    async def all_witnessed_once(self) -> None:
        self.running.feed.stop()
        await self.feeding
        await self.running.all_witnessed_once(self.following)


@asynccontextmanager
async def loaded(folder: Path) -> AsyncIterator[Loaded]:
    (folder / "cluster").mkdir(parents=True)
    with NatsCluster(folder / "cluster") as cluster:
        async with line(cluster, folder) as running, asyncio.TaskGroup() as tasks:
            feeding_now = tasks.create_task(running.feed.run(RATE, 3600.0))
            following = Following(running.bus)
            reading = tasks.create_task(following.run())
            yield Loaded(cluster, running, following, feeding_now)
            reading.cancel()


async def test_leaders_are_killed_under_load(tmp_path: Path) -> None:
    kills = iter(range(KILLS))
    for number in kills:
        async with loaded(tmp_path / str(number)) as line_now:
            killed = await line_now.kill_leader(number)
            if not line_now.is_old:
                await line_now.bring_back(killed)
                for again in kills:
                    await line_now.bring_back(await line_now.kill_leader(again))
            await line_now.all_witnessed_once()
