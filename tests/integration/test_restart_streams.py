"""What a stream lost behind its reader's back is told by its reason: it was purged by somebody, it
was declared again after the server had lost it, it expired. Each shows as gaps of that reason, in
exact sums, and all goes on by itself.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from services import subjects
from services.bus import Bus
from services.messages import BytesLedger, ExchangeLedger
from tests.integration.test_restart import Line, line
from tests.support import feeding
from tests.support.nats_server import NatsServer

AT_ONCE = 8
# More batches in a shard than a pull request asks for: what parse has been sent is not lost.
STEPS = 400
AGE = 2  # seconds

Losing = Callable[[Bus], Awaitable[None]]


async def purge(bus: Bus) -> None:
    await bus.js.purge_stream(subjects.RAW)


async def make_anew(bus: Bus) -> None:
    await bus.js.delete_stream(subjects.RAW)
    await bus.declare()


async def expire(bus: Bus) -> None:
    config = (await bus.js.stream_info(subjects.RAW)).config
    config.max_age = config.duplicate_window = AGE
    await bus.js.update_stream(config)
    async with asyncio.timeout(20):
        while (await bus.js.stream_info(subjects.RAW)).state.messages:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_each_way_to_lose_a_stream_is_told_by_its_reason(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with line(nats_server, tmp_path) as running:
        for reason, lose in (("purged", purge), ("bus_restart", make_anew), ("expired", expire)):
            before = await gaps(running)
            await lose_unread(running, lose)
            after = await gaps(running)
            assert after.get(reason, 0) > before.get(reason, 0), (reason, before, after)
            assert {r: n for r, n in after.items() if r != reason} == {
                r: n for r, n in before.items() if r != reason
            }, reason
        (parsed,) = await feeding.ledgers(running.client, "parse")
        for reason in ("purged", "bus_restart", "expired"):
            assert parsed.counters[f"stream_{reason}"] >= 1, reason
            assert parsed.counters[f"batches_lost_{reason}"] >= 1, reason
        found = await feeding.witnesses(running.bus)
        assert max(feeding.numbers(found).values()) == 1
        running.replicas.check_alive()


async def lose_unread(running: Line, lose: Losing) -> None:
    """Parse stands still meanwhile, for less than a lease."""
    feed = running.feed
    await feed.run(100, 1.0)
    running.replicas.send("parse", signal.SIGSTOP)
    for _ in range(STEPS):
        await feed.step(AT_ONCE)
    await running.bus.flush()
    await lose(running.bus)
    await feed.step(AT_ONCE)
    running.replicas.send("parse", signal.SIGCONT)
    async with asyncio.timeout(120):
        while await in_flight(running):  # until what waited behind the holes is given up
            await feed.run(100, 0.5)
            await feed.finish()
            await feeding.settled(running.client, feed.goal())


async def in_flight(running: Line) -> bool:
    answers = await feeding.ledgers(running.client, "parse")
    seen = sum(kernel.seen for kernel in running.feed.kernels)
    found = [a.bytes for a in answers if a.bytes]
    return sum(b.seen for b in found) < seen or any(b.in_flight for b in found)


async def gaps(running: Line) -> dict[str, int]:
    """By reason, of sums that are exact."""
    (parsed,) = await feeding.ledgers(running.client, "parse")
    (collected,) = await feeding.ledgers(running.client, "collect")
    assert parsed.bytes is not None
    assert collected.exchanges is not None
    check(running, parsed.bytes, collected.exchanges)
    return dict(parsed.bytes.gaps)


def check(running: Line, b: BytesLedger, e: ExchangeLedger) -> None:
    assert b.seen == sum(kernel.seen for kernel in running.feed.kernels)
    assert b.seen == b.parsed + b.opaque + sum(b.gaps.values()) + b.in_flight
    assert e.begun == e.complete + sum(e.partial.values()) + e.filtered + e.open
