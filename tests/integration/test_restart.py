"""Parse and collect as processes on a real server, killed, stopped, added and removed under load:
every exchange sent is one witness, none twice, and the ledger is exact.

The load is synthetic raw batches (feeding.py). Long runs are scripts/soak's; real captured traffic
is tests/e2e/test_restart_capture.py's.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import nats
from nats.aio.client import Client

from services import bus as buses
from services.bus import Bus
from services.settings import SharedSettings
from services.telemetry import Telemetry
from tests.support import feeding, replicas
from tests.support.feeding import Feed, Following
from tests.support.nats_server import NatsServer
from tests.support.replicas import Replicas

SHARDS = 4
RATE = 200.0
SERVICES = ("parse", "collect")


@dataclass
class Line:
    bus: Bus
    client: Client
    feed: Feed
    replicas: Replicas

    async def all_witnessed_once(self, following: Following | None = None) -> None:
        await self.feed.finish()
        await feeding.settled(self.client, self.feed.goal())
        found = await (following.all() if following else feeding.witnesses(self.bus))
        counted = feeding.numbers(found)
        missing = [number for number in self.feed.sent if number not in counted]
        twice = [number for number, times in counted.items() if times > 1]
        if missing or twice:
            told = [await feeding.ledgers(self.client, service) for service in SERVICES]
            sums = [(a.bytes, a.exchanges, a.counters) for answers in told for a in answers]
            raise AssertionError(f"{len(missing)} missing {missing[:9]}, twice {twice[:9]}: {sums}")
        await self.ledger_is_exact()
        self.replicas.check_alive()

    async def ledger_is_exact(self) -> None:
        answers = await feeding.ledgers(self.client, "parse")
        parsed = [a.bytes for a in answers if a.bytes]
        told = [(a.bytes, a.counters) for a in answers]
        assert sum(b.seen for b in parsed) == sum(k.seen for k in self.feed.kernels), told
        assert sum(b.seen for b in parsed) == sum(b.parsed for b in parsed), told
        answers = await feeding.ledgers(self.client, "collect")
        found = [a.exchanges for a in answers if a.exchanges]
        sums = [(a.exchanges, a.counters) for a in answers]
        assert sum(e.begun for e in found) == sum(e.complete for e in found), sums
        assert sum(e.begun for e in found) == len(self.feed.sent), sums

    async def owners(self, service: str) -> list[int]:
        """How many shards each replica owns, most first."""
        answers = await feeding.ledgers(self.client, service)
        return sorted((len(answer.shards) for answer in answers), reverse=True)

    async def until_owned(self, service: str, *counts: int) -> None:
        async with asyncio.timeout(20):
            while await self.owners(service) != list(counts):
                self.replicas.check_alive()


@asynccontextmanager
async def line(
    server: NatsServer, folder: Path, module: str = Replicas.module
) -> AsyncIterator[Line]:
    settings = SharedSettings(nats_url=server.url, shards=SHARDS)
    bus = await buses.connect(settings, "test", Telemetry())
    client = await nats.connect(server.url)
    with replicas.running(server.url, folder, SHARDS, module) as running:
        async with asyncio.TaskGroup() as tasks:
            background = tasks.create_task(bus.run())
            found = Line(bus, client, Feed(bus, SHARDS), running)
            for service in SERVICES:
                await found.until_owned(service, SHARDS)
            yield found
            background.cancel()
    await client.close()
    await bus.close()


async def test_kills_at_random_lose_nothing_and_double_nothing(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    chance = random.Random(7)
    async with line(nats_server, tmp_path) as running, asyncio.TaskGroup() as tasks:
        feeding_now = tasks.create_task(running.feed.run(RATE, 8.0))
        while not feeding_now.done():
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            service = chance.choice(SERVICES)
            running.replicas.kill(service)
            running.replicas.start(service)
        await running.all_witnessed_once()


async def test_replicas_come_and_go(nats_server: NatsServer, tmp_path: Path) -> None:
    """1 → 3 → 2, the last one by SIGTERM, which takes less than five seconds."""
    async with line(nats_server, tmp_path) as running, asyncio.TaskGroup() as tasks:
        feeding_now = tasks.create_task(running.feed.run(RATE, 60.0))
        for service in SERVICES:
            running.replicas.start(service)
            running.replicas.start(service)
        for service in SERVICES:
            await running.until_owned(service, 2, 1, 1)
        for service in SERVICES:
            begin = time.monotonic()
            leaving = running.replicas.terminate(service)
            assert await asyncio.to_thread(leaving.wait, 10) == 0
            assert time.monotonic() - begin < 5
            await running.until_owned(service, 2, 2)
        running.feed.stop()
        await feeding_now
        await running.all_witnessed_once()


async def test_a_replica_that_stood_still_is_replaced_and_does_no_harm(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """SIGSTOP until its leases have run out and another one has them, then SIGCONT."""
    async with line(nats_server, tmp_path) as running, asyncio.TaskGroup() as tasks:
        feeding_now = tasks.create_task(running.feed.run(RATE, 60.0))
        for service in SERVICES:
            running.replicas.start(service)
        for service in SERVICES:
            await running.until_owned(service, 2, 2)
        for service in SERVICES:
            running.replicas.send(service, signal.SIGSTOP)
        for service in SERVICES:
            await running.until_owned(service, SHARDS)
        for service in SERVICES:
            running.replicas.send(service, signal.SIGCONT)
        for service in SERVICES:
            await running.until_owned(service, 2, 2)
        running.feed.stop()
        await feeding_now
        await running.all_witnessed_once()


async def test_a_rolling_restart_loses_nothing(nats_server: NatsServer, tmp_path: Path) -> None:
    async with line(nats_server, tmp_path) as running, asyncio.TaskGroup() as tasks:
        feeding_now = tasks.create_task(running.feed.run(RATE, 60.0))
        for service in SERVICES:
            running.replicas.start(service)
            await running.until_owned(service, 2, 2)
            leaving = running.replicas.terminate(service)
            assert await asyncio.to_thread(leaving.wait, 5) == 0
            await running.until_owned(service, SHARDS)
        running.feed.stop()
        await feeding_now
        await running.all_witnessed_once()
