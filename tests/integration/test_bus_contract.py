"""What the stage relies on, asked of a real server and of the bus in memory alike: so that what the
model proves (tests/unit/shared/test_stage_model.py) holds for the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from services import bus as buses
from services import subjects
from services.buckets import Conflict, Part
from services.bus import Bus, Incoming, Outgoing
from services.settings import SharedSettings
from services.telemetry import Telemetry
from tests.support.fake_bus import FakeBus, FakeServer
from tests.support.nats_server import NatsServer

DEADLINE = 20


@pytest.fixture(params=["memory", "server"])
async def bus(
    request: pytest.FixtureRequest, nats_server: NatsServer
) -> AsyncIterator[Bus | FakeBus]:
    if request.param == "memory":
        yield FakeBus(FakeServer())
        return
    real = await buses.connect(SharedSettings(nats_url=nats_server.url), "test", Telemetry())
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        background = tasks.create_task(real.run())
        yield real
        background.cancel()
        await real.close()


def batch(number: int, shard: int = 0) -> Outgoing:
    return Outgoing(subjects.raw(shard, "node"), b"%d" % number, f"{shard}/{number}")


async def publish(bus: Bus | FakeBus, *outs: Outgoing) -> list[int]:
    """The sequences under which they are stored."""
    sequences: list[int] = []
    arrived = asyncio.Event()

    def stored(sequence: int) -> None:
        sequences.append(sequence)
        arrived.set()

    for out in outs:
        await bus.publish(out, stored, lambda: True)
    while len(sequences) < len(outs):
        arrived.clear()
        await arrived.wait()
    return sorted(sequences)


async def read(bus: Bus | FakeBus, count: int, after: Incoming | None = None) -> list[Incoming]:
    cursor = bus.cursor(subjects.RAW, subjects.raw_of_shard(0), after.position if after else None)
    found = []
    async for message in cursor:
        found.append(message)
        if len(found) == count:
            cursor.stop()
    return found


async def test_a_publication_tells_its_sequence_and_a_repeated_one_the_first_ones(
    bus: Bus | FakeBus,
) -> None:
    assert await publish(bus, batch(1), batch(2), batch(1)) == [1, 1, 2]


async def test_reading_goes_on_behind_a_position(bus: Bus | FakeBus) -> None:
    await publish(bus, batch(1), batch(1, shard=1), batch(2), batch(3))
    found = await read(bus, 3)
    assert [m.payload for m in found] == [b"1", b"2", b"3"]
    assert [m.payload for m in await read(bus, 2, found[0])] == [b"2", b"3"]
    assert not any(m.interrupted for m in found)


async def test_a_purge_removes_one_shards_messages_up_to_a_position(bus: Bus | FakeBus) -> None:
    await publish(bus, batch(1), batch(1, shard=1), batch(2), batch(3))
    found = await read(bus, 3)
    await bus.purge(found[1].position, subjects.RAW, subjects.raw_of_shard(0))
    assert [m.payload for m in await read(bus, 1)] == [b"3"]
    (after,) = await read(bus, 1, found[1])
    assert (after.payload, after.interrupted) == (b"3", "")


async def test_a_purge_spares_a_stream_that_was_made_anew(bus: Bus | FakeBus) -> None:
    await publish(bus, batch(1), batch(2))
    found = await read(bus, 2)
    elsewhere = msgspec.structs.replace(found[1].position, created="before")
    await bus.purge(elsewhere, subjects.RAW, subjects.raw_of_shard(0))
    assert [m.payload for m in await read(bus, 2)] == [b"1", b"2"]


async def test_a_stopped_cursor_ends_while_it_waits(bus: Bus | FakeBus) -> None:
    cursor = bus.cursor(subjects.RAW, subjects.raw_of_shard(0), None)
    asyncio.get_running_loop().call_later(0.2, cursor.stop)
    assert [message async for message in cursor] == []


async def test_a_key_is_written_only_behind_the_revision_that_is_there(
    bus: Bus | FakeBus,
) -> None:
    bucket = bus.bucket(subjects.OWNERS)
    first = await bucket.put("owner.parse.1", b"a", 0)
    with pytest.raises(Conflict):
        await bucket.put("owner.parse.1", b"b", 0)
    second = await bucket.put("owner.parse.1", b"c", first)
    with pytest.raises(Conflict):
        await bucket.put("owner.parse.1", b"d", first)
    found = await bucket.get("owner.parse.1")
    assert found is not None
    assert (found.value, found.revision) == (b"c", second)
    assert second > first


async def test_a_deleted_key_is_there_without_a_value_until_it_is_forgotten(
    bus: Bus | FakeBus,
) -> None:
    bucket = bus.bucket(subjects.OWNERS)
    revision = await bucket.put("owner.parse.1", b"a", 0)
    with pytest.raises(Conflict):
        await bucket.delete("owner.parse.1", revision + 1)
    await bucket.delete("owner.parse.1", revision)
    found = (await bucket.entries("*.parse"))["owner.parse.1"]
    assert found.value is None
    with pytest.raises(Conflict):
        await bucket.put("owner.parse.1", b"b", 0)
    await bucket.put("owner.parse.1", b"b", found.revision)


async def test_entries_are_the_last_of_each_key_below_a_prefix(bus: Bus | FakeBus) -> None:
    bucket = bus.bucket(subjects.OWNERS)
    assert await bucket.entries("*.parse") == {}
    for value in (b"1", b"2"):
        for key in ("owner.parse.1", "owner.parse.2", "owner.collect.1", "replica.parse.x"):
            await bucket.put(key, value)
    found = await bucket.entries("*.parse")
    assert {key: entry.value for key, entry in found.items()} == dict.fromkeys(
        ("owner.parse.1", "owner.parse.2", "replica.parse.x"), b"2"
    )
    assert await bucket.get("owner.parse.3") is None


async def test_a_part_is_read_by_its_revision_until_it_is_replaced(bus: Bus | FakeBus) -> None:
    bucket = bus.bucket(subjects.STATE)
    revisions = []
    for value in (b"old" * 1000, b"new"):
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        name = f"{len(revisions)}"
        await bucket.send(Part("parse.0.1.2", value, name, stored.set_result, lambda: True))
        revisions.append(await stored)
        assert await bucket.at(revisions[-1]) == value
    assert await bucket.at(revisions[0]) is None
    await bucket.clear("parse.0.1.2")
    async with asyncio.timeout(DEADLINE):
        while await bucket.at(revisions[1]) is not None:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)


async def test_a_purged_prefix_is_gone_and_its_neighbours_are_not(bus: Bus | FakeBus) -> None:
    bucket = bus.bucket(subjects.STATE)
    for key in ("parse.1.7.0", "parse.1.7.1.0", "parse.1.70.0", "parse.1.head"):
        await bucket.put(key, b"x")
    await bucket.purge("parse.1.7")
    assert set(await bucket.entries("parse.1")) == {"parse.1.70.0", "parse.1.head"}


async def test_who_never_answered_is_dead_and_who_answers_is_not(bus: Bus | FakeBus) -> None:
    await bus.answer("plainwire.alive.parse.me")
    assert not await bus.is_dead("plainwire.alive.parse.me")
    assert await bus.is_dead("plainwire.alive.parse.nobody")


async def test_a_listener_hears_of_writes_and_deletions(bus: Bus | FakeBus) -> None:
    heard: list[tuple[str, bool]] = []
    await bus.listen("$KV.plainwire_owners.owner.parse.>", lambda *told: heard.append(told))
    bucket = bus.bucket(subjects.OWNERS)
    revision = await bucket.put("owner.parse.1", b"a", 0)
    await bucket.put("owner.collect.1", b"a", 0)
    await bucket.delete("owner.parse.1", revision)
    async with asyncio.timeout(DEADLINE):
        while len(heard) < 2:  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.01)
    subject = "$KV.plainwire_owners.owner.parse.1"
    assert heard == [(subject, False), (subject, True)]
