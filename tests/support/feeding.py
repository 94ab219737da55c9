"""Raw batches as capture would publish them, at a steady rate, on many connections: the load that
tests, soak and bench put on parse and collect without a kernel.

Every exchange has its own path, so that each can be looked for among the witnesses. It is spread
over two batches: there is always something half read.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import nats.errors
from nats.aio.client import Client

from services import records, subjects
from services.bus import Bus, Outgoing
from services.messages import Position, ServiceLedger, Witness, raw_id
from services.records import Record
from tests.support.wire import EGRESS, INGRESS, NODE, Kernel

REQUEST = b"GET /%d HTTP/1.1\r\nHost: api.example.com\r\nAccept: */*\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
EVERY = 0.02  # seconds between two batches of a shard


@dataclass
class Feed:
    """`connections` in each of `shards` shards; a number for every exchange."""

    bus: Bus
    shards: int
    connections: int = 8
    sent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kernels = [Kernel() for _ in range(self.shards)]
        self._unstored: list[set[int]] = [set() for _ in range(self.shards)]
        self._opened: set[int] = set()
        self._begun: list[tuple[int, int, int]] = []  # shard, connection, number
        self._numbers = itertools.count(1)
        self._stopped = False
        self._turns: list[Iterator[int]] = [
            itertools.cycle(self._ids(shard)) for shard in range(self.shards)
        ]

    def _ids(self, shard: int) -> list[int]:
        return [
            (shard + 1) << 40 | number * 2654435761 for number in range(1, self.connections + 1)
        ]

    async def run(self, rate: float, seconds: float) -> None:
        """So many exchanges a second, over all shards."""
        loop = asyncio.get_running_loop()
        begin, done = loop.time(), 0
        while (now := loop.time() - begin) < seconds and not self._stopped:
            due = int(now * rate) - done
            done += due
            await self.step(due)
            await asyncio.sleep(EVERY)

    def stop(self) -> None:
        """After the step in hand: one that is cut off would be sent in part."""
        self._stopped = True

    async def step(self, exchanges: int) -> None:
        """Ends what the last step began and begins so many more; a batch for every shard."""
        found: list[list[Record]] = [[] for _ in range(self.shards)]
        for shard, connection, number in self._begun:
            kernel = self.kernels[shard]
            found[shard].append(kernel.record(EGRESS, (REQUEST % number)[20:], connection))
            found[shard].append(kernel.record(INGRESS, RESPONSE, connection))
            self.sent.append(number)
        self._begun = []
        for _ in range(min(exchanges, self.shards * self.connections)):
            number = next(self._numbers)
            shard = number % self.shards
            connection = next(self._turns[shard])
            self._begun.append((shard, connection, number))
            data = (REQUEST % number)[:20]
            found[shard].append(self.kernels[shard].record(EGRESS, data, connection))
        for shard, batch in enumerate(found):
            await self.publish(shard, batch)

    async def publish(self, shard: int, batch: list[Record]) -> None:
        kernel = self.kernels[shard]
        kernel.now += int(EVERY * 1e9)
        new = {record.connection for record in batch} - self._opened
        self._opened |= new
        unstored = self._unstored[shard]
        counter = kernel.counter + 1
        unstored.add(counter)
        head = kernel.head(
            shard=shard,
            opened=tuple(kernel.opened(c) for c in sorted(new)),
            lowest_held=min(unstored),  # as capture: what is refused for a moment comes later
        )
        data = records.encode_raw(head, [records.encode_record(r, shard) for r in batch])
        out = Outgoing(subjects.raw(shard, NODE), data, raw_id(head))
        await self.bus.publish(out, lambda _: unstored.discard(counter))

    async def finish(self) -> None:
        """Ends what is open; all of it is then stored."""
        await self.step(0)
        await self.bus.flush()

    def goal(self) -> list[Position]:
        return [
            Position(node=NODE, shard=shard, epoch=kernel.epoch, counter=kernel.counter)
            for shard, kernel in enumerate(self.kernels)
        ]


async def ledgers(client: Client, service: str, within: float = 0.4) -> list[ServiceLedger]:
    """Every replica's."""
    inbox = client.new_inbox()
    answers: list[ServiceLedger] = []
    subscription = await client.subscribe(inbox)
    await client.publish(f"$SRV.STATS.plainwire-{service}", reply=inbox)
    try:
        async with asyncio.timeout(within):
            async for message in subscription.messages:
                if not message.data:  # no such service
                    break
                for endpoint in msgspec.json.decode(message.data)["endpoints"]:
                    answers.append(msgspec.convert(endpoint["data"], ServiceLedger))
    except TimeoutError:
        pass
    await subscription.unsubscribe()
    return answers


async def settled(client: Client, goal: list[Position], seconds: float = 40) -> None:
    """Until the replicas of collect, together, have told of every position."""
    wanted = {p.shard: p.counter for p in goal}
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        at = await _positions(client, "collect")
        if all(at.get(shard, 0) >= counter for shard, counter in wanted.items()):
            return
        if asyncio.get_running_loop().time() > deadline:
            parsed = await _positions(client, "parse")
            told = {s: await _symptoms(client, s) for s in ("parse", "collect")}
            raise TimeoutError(f"wanted {wanted}, parse is at {parsed}, collect at {at}: {told}")


async def _symptoms(client: Client, service: str) -> list[dict[str, int]]:
    names = ("bus_", "shard_lag", "consumers", "leases", "snapshots", "takeovers", "lease_")
    return [
        {name: count for name, count in ledger.counters.items() if name.startswith(names)}
        for ledger in await ledgers(client, service)
    ]


async def _positions(client: Client, service: str) -> dict[int, int]:
    try:
        found = await ledgers(client, service)
    except nats.errors.Error:
        return {}
    return {p.shard: p.counter for ledger in found for p in ledger.positions}


async def witnesses(bus: Bus) -> list[Witness]:
    """Every one that is stored, in order."""
    info = await bus.js.stream_info(subjects.WITNESSES)
    found: list[Witness] = []
    if not info.state.messages:
        return found
    cursor = bus.cursor(subjects.WITNESSES, "plainwire.store.witnesses.>")
    async for message in cursor:
        found.append(msgspec.json.decode(message.payload, type=Witness))
        if message.sequence >= info.state.last_seq:
            cursor.stop()
    return found


@dataclass
class Following:
    """Reads witnesses as they are stored: an old server keeps the last 4,000 of them only."""

    bus: Bus
    found: list[Witness] = field(default_factory=list)
    last: int = 0

    async def run(self) -> None:
        async for message in self.bus.cursor(subjects.WITNESSES, "plainwire.store.witnesses.>"):
            self.found.append(msgspec.json.decode(message.payload, type=Witness))
            self.last = message.sequence

    async def all(self, seconds: float = 40) -> list[Witness]:
        info = await self.bus.js.stream_info(subjects.WITNESSES)
        async with asyncio.timeout(seconds):
            while self.last < info.state.last_seq:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.05)
        return self.found


def numbers(found: list[Witness]) -> Counter[int]:
    """How often each exchange was witnessed as complete."""
    return Counter(
        int((w.request.path or "/0")[1:])
        for w in found
        if w.request is not None and w.state == "complete"
    )
