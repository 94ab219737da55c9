"""A message on which a fold raises, in real processes that are killed meanwhile too: it is passed
over, counted once however often it was met, its bytes are gaps, and nothing else suffers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.test_restart import SERVICES, SHARDS, line
from tests.support import feeding
from tests.support.fragile import BUGS
from tests.support.nats_server import NatsServer
from tests.support.wire import EGRESS

RATE = 100.0
TIMES = 3


async def test_a_bug_costs_one_message(nats_server: NatsServer, tmp_path: Path) -> None:
    async with line(nats_server, tmp_path, "tests.support.fragile") as running:
        feed = running.feed
        async with asyncio.TaskGroup() as tasks:
            feeding_now = tasks.create_task(feed.run(RATE, 3600.0))
            for number in range(TIMES):
                await asyncio.sleep(0.7)
                for service in SERVICES:
                    words = b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n" % BUGS[service]
                    shard = number % SHARDS
                    own = 1 << 50 | number << 8 | len(service)  # a connection of its own
                    await feed.publish(shard, [feed.kernels[shard].record(EGRESS, words, own)])
                await asyncio.sleep(0.3)
                for service in SERVICES:
                    running.replicas.kill(service)
                    running.replicas.start(service)
            feed.stop()
            await feeding_now
        await feed.finish()
        await feeding.settled(running.client, feed.goal())
        counted = feeding.numbers(await feeding.witnesses(running.bus))
        assert counted == dict.fromkeys(feed.sent, 1)

        (parsed,) = await feeding.ledgers(running.client, "parse")
        (collected,) = await feeding.ledgers(running.client, "collect")
        assert parsed.counters["messages_skipped"] == TIMES
        assert collected.counters["messages_skipped"] == TIMES
        assert parsed.bytes is not None
        assert parsed.bytes.seen == sum(kernel.seen for kernel in feed.kernels)
        running.replicas.check_alive()
        for service in SERVICES:
            log = running.replicas.log(service)
            assert "a message is passed over, a bug: Bug in fragile.py" in log
            assert BUGS[service].decode() not in log
