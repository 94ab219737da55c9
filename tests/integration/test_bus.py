"""The bus against a real server: what is published is stored once, what is read is contiguous.

Not here: what the messages mean, and leases and snapshots.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from services import bus as buses
from services import subjects
from services.bus import Bus, BusError, Incoming, Outgoing
from services.settings import SharedSettings
from services.telemetry import Telemetry
from tests.support.nats_server import NatsServer

DEADLINE = 20


@asynccontextmanager
async def connected(url: str, shards: int = 4) -> AsyncIterator[Bus]:
    bus = await buses.connect(SharedSettings(nats_url=url, shards=shards), "test", Telemetry())
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        background = tasks.create_task(bus.run())
        try:
            yield bus
        finally:
            background.cancel()
            await bus.close()


def batch(number: int, shard: int = 0) -> Outgoing:
    return Outgoing(subjects.raw(shard, "node"), b"%d" % number, f"node/1/{shard}/{number}")


async def read(bus: Bus, count: int) -> list[Incoming]:
    found: list[Incoming] = []
    async for incoming in bus.cursor(subjects.RAW, subjects.raw_of_shard(0)):
        found.append(incoming)
        if len(found) == count:
            break
    return found


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is awaited has no event
        await asyncio.sleep(0.01)


async def test_a_cursor_reads_what_was_published_in_order(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as bus:
        for number in range(1000):
            await bus.publish(batch(number))
            await bus.publish(batch(number, shard=1))
        await bus.flush()
        found = await read(bus, 1000)
    assert [i.payload for i in found] == [b"%d" % n for n in range(1000)]
    assert found[7].message_id == "node/1/0/7"


async def test_a_publication_that_is_repeated_is_stored_once(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as bus:
        for number in (1, 1, 2, 1, 2, 3):
            await bus.publish(batch(number))
        await bus.flush()
        found = await read(bus, 3)
        assert bus.publisher.counters.duplicates == 3
    assert [i.payload for i in found] == [b"1", b"2", b"3"]


async def test_what_was_published_while_the_server_was_away_arrives(
    nats_server: NatsServer,
) -> None:
    async with connected(nats_server.url) as bus:
        await bus.publish(batch(0))
        await bus.flush()
        nats_server.kill()
        await until(lambda: not bus.connected)
        for number in range(1, 50):
            await bus.publish(batch(number))
        nats_server.start()
        await bus.flush()
        found = await read(bus, 49)
        assert bus.counters.reconnects == 1
    assert [int(i.payload) for i in found] == list(range(1, 50))


async def test_a_reader_goes_on_over_a_server_restart_and_says_so(
    nats_server: NatsServer,
) -> None:
    async with connected(nats_server.url) as bus:
        await bus.publish(batch(1))
        await bus.flush()
        cursor = bus.cursor(subjects.RAW, subjects.raw_of_shard(0))
        incoming = aiter(cursor)
        first = await anext(incoming)
        nats_server.kill()
        await until(lambda: not bus.connected)
        nats_server.start()
        await bus.publish(batch(2))
        second = await anext(incoming)
        assert cursor.counters.stream_restarts == 1
    assert (first.payload, first.restarted) == (b"1", False)
    assert (second.payload, second.restarted) == (b"2", True)


async def test_a_message_that_is_lost_on_the_way_is_read_again(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as bus:
        for number in range(5):
            await bus.publish(batch(number))
        await bus.flush()
        cursor = bus.cursor(subjects.RAW, subjects.raw_of_shard(0))
        dropped: list[bytes] = []
        original = bus.client.subscribe

        async def lossy(subject: str, cb: Callable[[object], object], **options: object) -> object:
            async def deliver(message: object) -> None:
                if message.data == b"2" and not dropped:  # type: ignore[attr-defined]
                    dropped.append(message.data)  # type: ignore[attr-defined]
                    return
                await cb(message)  # type: ignore[misc]

            return await original(subject, cb=deliver, **options)  # type: ignore[arg-type]

        bus.client.subscribe = lossy  # type: ignore[method-assign, assignment]
        found = []
        async for incoming in cursor:
            found.append(int(incoming.payload))
            if len(found) == 5:
                break
        assert cursor.counters.not_contiguous == 1
    assert dropped == [b"2"]
    assert found == [0, 1, 2, 3, 4]


async def test_a_last_value_is_there_for_who_comes_late_and_then_each_newer_one(
    nats_server: NatsServer,
) -> None:
    subject = subjects.targets("node")
    async with connected(nats_server.url) as bus:
        for number in range(3):
            await bus.publish(Outgoing(subject, b"%d" % number))
        await bus.flush()
        values = aiter(bus.latest(subjects.TARGETS, subject))
        first = await anext(values)
        await bus.publish(Outgoing(subject, b"newer"))
        second = await anext(values)
        last = await bus.last(subjects.TARGETS, subject)
        nobody = await bus.last(subjects.TARGETS, subjects.targets("nobody"))
    assert (first.payload, second.payload) == (b"2", b"newer")
    assert last is not None
    assert last.payload == b"newer"
    assert nobody is None


async def test_a_live_tap_sees_what_was_stored_once(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as bus:
        tap = await bus.client.subscribe(subjects.witnesses("shop"))
        await bus.client.flush()
        await bus.client.flush()
        for _ in range(3):
            await bus.publish(Outgoing("plainwire.store.witnesses.shop.cart", b"{}", "w/1"))
        await bus.flush()
        message = await tap.next_msg(timeout=DEADLINE)
        assert message.subject == "plainwire.witnesses.shop.cart"
        assert message.headers is not None
        assert message.headers["Nats-Sequence"] == "1"
        assert tap.pending_msgs == 0


async def test_another_shard_count_is_refused(nats_server: NatsServer) -> None:
    async with connected(nats_server.url, shards=4):
        pass
    with pytest.raises(BusError, match="the bus has 4 shards, the setting shards is 5"):
        async with connected(nats_server.url, shards=5):
            pass


async def test_a_full_window_makes_the_publisher_wait(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as bus:
        nats_server.kill()
        await until(lambda: not bus.connected)
        sent = 0

        async def publish_for_ever() -> None:
            nonlocal sent
            while True:
                await bus.publish(batch(sent))
                sent += 1

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await publish_for_ever()
        assert sent == bus.publisher.pending == 256
        nats_server.start()
        await bus.flush()


@pytest.mark.parametrize("in_memory", [False, True])
async def test_witnesses_are_kept_where_an_old_server_does_not_search_long(
    nats_server: NatsServer, in_memory: bool
) -> None:
    settings = SharedSettings(nats_url=nats_server.url, nats_store_in_memory=in_memory)
    bus = await buses.connect(settings, "test", Telemetry())
    old = bus.client.connected_server_version.minor < 10
    config = (await bus.js.stream_info(subjects.WITNESSES)).config
    await bus.close()
    assert config.storage == ("file" if old and in_memory else "memory")
    assert config.max_msgs == (4000 if old and not in_memory else -1)
