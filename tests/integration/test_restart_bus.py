"""A single server that is killed takes its memory streams and buckets with it. All goes on by
itself: connections go on, what was open ends as partial, and every loss is counted by its reason.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from services.messages import ExchangeLedger
from tests.integration.test_restart import SHARDS, line
from tests.support import feeding
from tests.support.feeding import REQUEST, RESPONSE
from tests.support.nats_server import NatsServer
from tests.support.wire import EGRESS, INGRESS

RATE = 100.0
# Longer than a lease: replicas then keep what they have in memory until they are owners again.
OUTAGES = [0.5, 10.0] if os.environ.get("PLAINWIRE_SOAK") else [0.5]
SLOW, SLOW_NUMBER = 99, 1_000_000


@pytest.mark.parametrize("outage", OUTAGES)
async def test_a_server_that_forgets_everything_is_survived(
    outage: float, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with line(nats_server, tmp_path) as running:
        feed, kernel = running.feed, running.feed.kernels[0]
        asked = kernel.record(EGRESS, REQUEST % SLOW_NUMBER, SLOW)
        await feed.publish(0, [asked])
        await feed.run(RATE, 2.0)
        await feed.finish()
        await feeding.settled(running.client, feed.goal())
        async with asyncio.TaskGroup() as tasks:
            feeding_now = tasks.create_task(feed.run(RATE, outage + 4.0))
            await asyncio.sleep(1.0)
            nats_server.kill()
            await asyncio.sleep(outage)
            nats_server.start()
            await feeding_now
        await feed.finish()
        await feeding.settled(running.client, feed.goal())
        before = len(feed.sent)
        await feed.publish(0, [kernel.record(INGRESS, RESPONSE, SLOW)])
        await feed.run(RATE, 2.0)
        await feed.finish()
        await feeding.settled(running.client, feed.goal())

        found = await feeding.witnesses(running.bus)
        counted = feeding.numbers(found)
        assert {n: counted[n] for n in feed.sent[before:]} == dict.fromkeys(feed.sent[before:], 1)
        assert max(counted.values()) == 1
        slow = [w for w in found if w.request and w.request.path == f"/{SLOW_NUMBER}"]
        assert [(w.state, w.partial_reasons) for w in slow] == [("partial", ("bus_restart",))]
        running.replicas.check_alive()

        parsed = [a for a in await feeding.ledgers(running.client, "parse") if a.bytes]
        (sums,) = (a.bytes for a in parsed)
        assert sums is not None
        assert sums.seen == sum(k.seen for k in feed.kernels)
        assert sums.seen == sums.parsed + sums.opaque + sum(sums.gaps.values())
        assert set(sums.gaps) <= {"bus_restart"}
        assert parsed[0].counters["stream_bus_restart"] == SHARDS
        (collected,) = await feeding.ledgers(running.client, "collect")
        assert collected.exchanges is not None
        assert collected.exchanges.partial.get("bus_restart", 0) >= 1
        assert _holds(collected.exchanges)


def _holds(e: ExchangeLedger) -> bool:
    return e.begun == e.complete + sum(e.partial.values()) + e.filtered + e.open
