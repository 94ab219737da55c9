"""Who may write a shard's parts, and under which names: on the bus in memory."""

from __future__ import annotations

import asyncio

import pytest

from services.buckets import Entry, Unavailable
from services.cursor import StreamPosition
from services.groups import GROUPS, Written
from services.snapshots import Expired, Fenced, Lost, Snapshots
from tests.support.fake_bus import FakeBucket, FakeBus, FakeServer

WHOLE = Written(b"rest", dict.fromkeys(range(GROUPS), b"x"))


class Owner:
    """With a lease that a test ends."""

    def __init__(self, server: FakeServer) -> None:
        self.valid = True
        self.bus = FakeBus(server)
        bucket = self.bus.bucket("plainwire_state")
        self.snapshots = Snapshots(bucket, "parse.0", 1, "code", 1000, lambda: self.valid)

    async def save(self, sequence: int) -> None:
        await self.snapshots.save(StreamPosition("then", sequence), WHOLE)


def parts(server: FakeServer) -> set[str]:
    entries = server.buckets["plainwire_state"]
    return {key for key, entry in entries.items() if entry.value and not key.endswith("head")}


async def test_parts_on_their_way_when_a_lease_ran_out_meet_none_of_those_to_come() -> None:
    """Else one that is stored late would replace what the head names."""
    server = FakeServer()
    owner = Owner(server)
    await owner.snapshots.fence()
    await owner.save(1)
    before = parts(server)
    asyncio.get_running_loop().call_later(0.01, setattr, owner, "valid", False)
    with pytest.raises(Expired):
        await owner.save(2)
    on_their_way = parts(server) - before
    assert on_their_way
    owner.valid = True
    assert await owner.snapshots.keep()
    await owner.save(3)
    head = await Owner(server).snapshots.fence()
    assert head.position.sequence == 3
    assert head.term > 1
    written = await owner.snapshots.load(head)
    assert written is not None
    named = {key for key in parts(server) if server.buckets["plainwire_state"][key].revision in
             {revision for revisions in head.parts.values() for revision in revisions}}  # fmt: skip
    assert not named & on_their_way


async def test_who_was_replaced_keeps_nothing() -> None:
    server = FakeServer()
    owner, other = Owner(server), Owner(server)
    await owner.snapshots.fence()
    await owner.save(1)
    await other.snapshots.fence()
    assert not await owner.snapshots.keep()
    with pytest.raises(Fenced):
        await owner.save(2)


async def test_where_the_bus_has_lost_its_buckets_the_next_snapshot_is_a_first_one() -> None:
    server = FakeServer()
    owner = Owner(server)
    await owner.snapshots.fence()
    await owner.save(1)
    server.buckets.clear()
    with pytest.raises(Lost):
        await owner.snapshots.keep()
    owner.snapshots.begin_anew()
    await owner.save(2)
    head = await Owner(server).snapshots.fence()
    assert head.position.sequence == 2


class Mute(FakeBucket):
    """Stores, and gives no answer, while `mute`."""

    mute = False

    async def put(self, key: str, value: bytes, last: int | None = None) -> int:
        revision = await super().put(key, value, last)
        if self.mute:
            raise Unavailable("no answer")
        return revision

    async def get(self, key: str) -> Entry | None:
        if self.mute:
            raise Unavailable("no answer")
        return await super().get(key)


async def test_a_head_that_was_stored_without_an_answer_keeps_its_parts() -> None:
    """Else the next snapshot would overwrite what it names, and find it in its own way."""
    server = FakeServer()
    owner = Owner(server)
    bucket = owner.snapshots.bucket = Mute(owner.bus, "plainwire_state")
    await owner.snapshots.fence()
    await owner.save(1)
    bucket.mute = True
    with pytest.raises(Unavailable):
        await owner.save(2)
    bucket.mute = False
    await owner.save(3)
    successor = Owner(server).snapshots
    latest = await successor.fence()
    assert latest.position.sequence == 3
    assert await successor.load(latest) is not None


async def test_a_successor_can_read_what_was_stored_without_an_answer() -> None:
    """At any moment of the next attempt, whose parts are written before its head."""
    server = FakeServer()
    owner = Owner(server)
    bucket = owner.snapshots.bucket = Mute(owner.bus, "plainwire_state")
    await owner.snapshots.fence()
    await owner.save(1)
    bucket.mute = True
    with pytest.raises(Unavailable):
        await owner.save(2)
    bucket.mute = False
    asyncio.get_running_loop().call_later(0.05, setattr, owner, "valid", False)
    with pytest.raises(Expired):
        await owner.save(3)
    successor = Owner(server).snapshots
    head = await successor.fence()
    assert head.position.sequence == 2
    assert await successor.load(head) is not None
