"""What snapshots cost as a share of a core, and how long a killed replica is missed.

The share is at the interval that the stage itself chooses: every second, and more seldom where a
snapshot is dear. Every connection has spoken since the last one: nothing is left out as unchanged.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import tempfile
import time
from pathlib import Path

import msgspec
import nats
from nats.aio.msg import Msg

from services import bus as buses
from services import records, subjects
from services.bus import Bus, Incoming
from services.folding import SAVE_AT_LEAST_EVERY, SAVE_EVERY, Folding
from services.messages import Witness
from services.parse.limits import Limits
from services.parse.parser import Parser
from services.settings import SharedSettings
from services.snapshots import Snapshots
from services.telemetry import Telemetry
from tests.support import feeding, replicas
from tests.support.feeding import Feed
from tests.support.nats_server import LocalProcess, NatsServer
from tests.support.wire import EGRESS, NODE, Kernel

CONNECTIONS = (100, 1_000, 10_000)
REQUEST = b"GET /a/path/of/some/length?with=a&query=too HTTP/1.1\r\nHost: api.example.com\r\n"
HEADER = b"X-Header-%d: a value of some length, as headers have it\r\n"
SHARDS = 4


def measure(rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        with NatsServer(LocalProcess(), store) as server:
            figures = asyncio.run(_costs(server.url, rounds))
        with NatsServer(LocalProcess(), store) as server:
            return figures | asyncio.run(_gaps(server.url, store, rounds))


# --- cost -----------------------------------------------------------------------------------------


async def _costs(url: str, rounds: int) -> dict[str, float]:
    settings = SharedSettings(nats_url=url, shards=SHARDS)
    bus = await buses.connect(settings, "bench", Telemetry())
    figures: dict[str, float] = {}
    async with asyncio.TaskGroup() as tasks:
        background = tasks.create_task(bus.run())
        for count in CONNECTIONS:
            figures |= await _cost(bus, count, rounds)
        background.cancel()
    await bus.close()
    return figures


async def _cost(bus: Bus, count: int, rounds: int) -> dict[str, float]:
    work, kernel = Parser(Limits()).begin(0), Kernel()
    snapshots = Snapshots(
        bus.bucket(subjects.STATE), f"bench.{count}", 1, "", 512 * 1024, lambda: True
    )
    await snapshots.fence()
    shares, sizes, pauses = [], [], []
    for number in range(rounds + 1):
        position = _speak(work.receive, kernel, count, number)
        folding = _account_of(bus, snapshots)
        begun = time.process_time()
        encoding = time.thread_time()
        written = work.write(everything=not number)
        encoding = time.thread_time() - encoding
        await snapshots.save(position, written)
        cost = time.process_time() - begun
        folding._account(encoding)
        shares.append(cost / folding._pause)
        pauses.append(folding._pause)
        sizes.append(snapshots.saved_bytes)
    assert all(SAVE_EVERY <= pause <= SAVE_AT_LEAST_EVERY for pause in pauses)
    return {
        f"snapshot_core_share_{count}": statistics.median(shares[1:]),
        f"snapshot_bytes_{count}": float(sizes[-1]),
        f"snapshot_every_s_{count}": statistics.median(pauses[1:]),
    }


def _speak(receive: object, kernel: Kernel, count: int, number: int) -> object:
    """Half a request or the other half on each connection."""
    first = REQUEST + b"".join(HEADER % n for n in range(8))
    data = first if number % 2 == 0 else b"\r\n"
    message = None
    ids = [7919 * (n + 1) for n in range(count)]
    for begin in range(0, count, 200):
        part = ids[begin : begin + 200]
        opened = tuple(kernel.opened(c) for c in part) if not number else ()
        found = [kernel.record(EGRESS, data, connection) for connection in part]
        head = kernel.head(opened=opened)
        payload = records.encode_raw(head, [records.encode_record(r, 0) for r in found])
        message = Incoming(
            subjects.raw(0, NODE), payload, "", number * 1000 + begin + 1, {}, "", "1"
        )
        receive(message)  # type: ignore[operator]
    assert message is not None
    return message.position


def _account_of(bus: Bus, snapshots: Snapshots) -> Folding:
    return Folding(bus, bus.telemetry, Parser(Limits()), "", "", 0, snapshots, time.monotonic)


# --- how long a replica is missed -----------------------------------------------------------------


async def _gaps(url: str, folder: Path, rounds: int) -> dict[str, float]:
    bus = await buses.connect(SharedSettings(nats_url=url, shards=SHARDS), "bench", Telemetry())
    client = await nats.connect(url)
    feed = Feed(bus, SHARDS)
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def witnessed(message: Msg) -> None:
        request = msgspec.json.decode(message.data, type=Witness).request
        if request is not None:
            seen.put_nowait(int((request.path or "/0")[1:]))

    await client.subscribe(subjects.witnesses(), cb=witnessed)
    figures: dict[str, float] = {}
    with replicas.running(url, folder, SHARDS) as running:
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(bus.run()), tasks.create_task(feed.run(200, 3600))]
            await _next(seen, feed)
            for service in ("parse", "collect"):
                found = []
                for _ in range(rounds):
                    running.kill(service)
                    running.start(service)
                    found.append(await _next(seen, feed))
                figures[f"kill_{service}_to_witness_s"] = statistics.median(found)
            figures |= await _stopped(running, seen, feed, client)
            for task in background:
                task.cancel()
    await client.close()
    await bus.close()
    return figures


async def _stopped(
    running: replicas.Replicas, seen: asyncio.Queue[int], feed: Feed, client: nats.NATS
) -> dict[str, float]:
    """One that stands still keeps its connection: its lease must run out."""
    running.start("parse")
    while sorted(len(a.shards) for a in await feeding.ledgers(client, "parse")) != [2, 2]:
        pass
    running.send("parse", signal.SIGSTOP)
    took = await _next(seen, feed)
    running.send("parse", signal.SIGCONT)
    return {"stop_parse_to_witness_s": took}


async def _next(seen: asyncio.Queue[int], feed: Feed) -> float:
    """Seconds until exchanges of every shard, sent from now on, have been witnessed."""
    begun, last, missing = time.monotonic(), max(feed.sent, default=0) + SHARDS, set(range(SHARDS))
    async with asyncio.timeout(60):
        while missing:
            number = await seen.get()
            if number > last:
                missing.discard(number % SHARDS)
    return time.monotonic() - begun
