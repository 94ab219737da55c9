"""A replica that is cut off from NATS for longer than a lease, in both directions and without being
told, while another one takes over: nothing is lost and nothing is there twice, then and once the
network is whole again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.test_restart import SERVICES, SHARDS, line
from tests.support import blackhole
from tests.support.nats_server import NatsServer
from tests.support.replicas import Replicas

RATE = 100.0


async def test_a_replica_cut_off_for_longer_than_a_lease_does_no_harm(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with blackhole.in_front_of(nats_server.port) as network:
        behind = Replicas(network.url, tmp_path, SHARDS)
        try:
            async with line(nats_server, tmp_path) as running, asyncio.TaskGroup() as tasks:
                feeding_now = tasks.create_task(running.feed.run(RATE, 3600.0))
                for service in SERVICES:
                    behind.start(service)
                for service in SERVICES:
                    await running.until_owned(service, 2, 2)
                network.swallow()
                for service in SERVICES:
                    await running.until_owned(service, SHARDS)
                await asyncio.sleep(2.0)  # both believe what they believe
                network.go_on()
                for service in SERVICES:
                    await running.until_owned(service, 2, 2)
                running.feed.stop()
                await feeding_now
                await running.all_witnessed_once()
                behind.check_alive()
        finally:
            behind.close()
