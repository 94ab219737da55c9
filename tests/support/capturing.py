"""The capture service alone on a real kernel and a real bus: targets in, what it delivered out.

Plays discovery's part and parse's: publishes Targets, collects raw batches and puts the records of
each connection and direction together by their offsets.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from services import subjects
from services.discovery.scanning import Discovery
from services.discovery.settings import Settings as DiscoverySettings
from services.messages import Closed, Direction, Opened, Position, RawHead, Tail, Targets
from services.records import decode_raw
from tests.support.nats_server import LocalProcess, NatsServer

ROOT = Path(__file__).parents[2]
NODE = "capturing"
SECONDS = 20
START_SECONDS = 90  # bcc compiles meanwhile, on a machine that may be busy
_SERVICE = """
import os, sys
from services import settings
from services.capture import main
from services.capture.settings import Settings
sys.exit(main.main(settings.load(Settings, "capture", os.environ, None, {"capture": Settings})))
"""


@dataclass
class Stream:
    """One direction of a connection."""

    pieces: dict[int, bytes] = field(default_factory=dict)

    def delivered(self) -> int:
        return sum(map(len, self.pieces.values()))

    def whole(self) -> bytes:
        """All bytes from offset 0; offsets must follow one another without hole or overlap."""
        data = bytearray()
        for offset in sorted(self.pieces):
            assert offset == len(data), f"a record at {offset}, the one before ends at {len(data)}"
            data += self.pieces[offset]
        return bytes(data)


@dataclass
class Delivered:
    heads: dict[tuple[int, int, int], RawHead] = field(default_factory=dict)
    opened: dict[int, Opened] = field(default_factory=dict)
    closed: dict[int, Closed] = field(default_factory=dict)
    tails: list[Tail] = field(default_factory=list)
    streams: dict[tuple[int, Direction], Stream] = field(default_factory=dict)
    unannounced: int = 0

    def receive(self, data: bytes) -> None:
        head, records = decode_raw(data)
        if (head.epoch, head.shard, head.counter) in self.heads:
            return  # sent again
        self.heads[head.epoch, head.shard, head.counter] = head
        self.opened |= {opened.connection: opened for opened in head.opened}
        self.closed |= {closed.connection: closed for closed in head.closed}
        self.tails += head.tails
        for record in records:
            self.unannounced += record.connection not in self.opened
            stream = self.stream(record.connection, record.direction)
            assert record.offset not in stream.pieces
            stream.pieces[record.offset] = bytes(record.payload)

    def stream(self, connection: int, direction: Direction) -> Stream:
        return self.streams.setdefault((connection, direction), Stream())

    def of(self, pid: int) -> list[int]:
        """The process's connections, in the order of their birth."""
        found = [one for one in self.opened.values() if one.source.pid == pid]
        return [one.connection for one in sorted(found, key=lambda one: one.first_boot_ns)]

    def last_heads(self) -> list[RawHead]:
        last = {shard: head for (_, shard, _), head in sorted(self.heads.items())}
        return list(last.values())

    def seen(self) -> int:
        return sum(head.totals.seen_bytes for head in self.last_heads())

    def lost(self) -> int:
        return sum(head.totals.lost.total() for head in self.last_heads())

    def delivered(self) -> int:
        return sum(stream.delivered() for stream in self.streams.values())


@dataclass
class Capture:
    process: subprocess.Popen[bytes]
    client: Client
    delivered: Delivered
    server: NatsServer

    async def ask(self, endpoint: str) -> bytes:
        subject = f"plainwire.capture.{endpoint}.{subjects.token(NODE)}"
        return (await self.client.request(subject, b"", timeout=SECONDS)).data

    async def tick(self) -> Delivered:
        """Everything that was captured until now."""
        positions = msgspec.json.decode(await self.ask("tick"), type=tuple[Position, ...])
        wanted = {(p.epoch, p.shard, p.counter) for p in positions}
        await until(lambda: wanted <= self.delivered.heads.keys())
        return self.delivered

    async def read_stream(self) -> None:
        """What the stream holds: a subscription misses what is stored while it is away."""
        js = self.client.jetstream()
        subscription = await js.subscribe("plainwire.raw.>", stream="RAW", ordered_consumer=True)
        info = await js.stream_info("RAW")
        for _ in range(info.state.messages):
            self.delivered.receive((await subscription.next_msg(SECONDS)).data)
        await subscription.unsubscribe()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(SECONDS)

    async def terminate(self) -> float:
        """Seconds that it took to end."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.process.wait, SECONDS) == 0
        return time.monotonic() - begun


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


def targets(*files: str) -> Targets:
    """What discovery says of this host now."""
    settings = DiscoverySettings(node=NODE, files=files)
    return Discovery(settings, 1 << 20).look()


@asynccontextmanager
async def capturing(
    folder: Path, wanted: Targets | None = None, **settings: str | int
) -> AsyncIterator[Capture]:
    """Capture with its probes attached; `settings` are those of the service."""
    store = folder / f"nats-{time.monotonic_ns()}"
    store.mkdir()
    with NatsServer(LocalProcess(), store) as server:
        client = await nats.connect(
            server.url, reconnect_time_wait=0.1, max_reconnect_attempts=-1, error_cb=_ignored
        )
        delivered = Delivered()

        async def receive(message: Msg) -> None:
            delivered.receive(message.data)

        await client.subscribe("plainwire.raw.>", cb=receive)
        process = _start(server.url, settings)
        try:
            capture = Capture(process, client, delivered, server)
            await _attach(capture, wanted or targets())
            yield capture
        finally:
            process.terminate()
            process.wait(SECONDS)
            await client.close()


async def _ignored(_: Exception) -> None:
    """The server's absence is part of some tests."""


def _start(url: str, settings: dict[str, str | int]) -> subprocess.Popen[bytes]:
    own = {f"PLAINWIRE_CAPTURE_{key.upper()}": str(value) for key, value in settings.items()}
    shared = {"PLAINWIRE_NODE": NODE, "PLAINWIRE_NATS_URL": url}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PLAINWIRE_")}
    return subprocess.Popen(
        [sys.executable, "-c", _SERVICE], cwd=ROOT, env=environment | shared | own
    )


async def _attach(capture: Capture, wanted: Targets) -> None:
    keys = {target.identity.key() for target in wanted.targets}
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert capture.process.poll() is None, "capture has ended"
        assert time.monotonic() < deadline, "capture attaches nothing"
        try:
            ready = msgspec.json.decode(await capture.ask("ready"))
        except nats.errors.NoRespondersError:
            await asyncio.sleep(0.05)
            continue
        if set(ready["attached"]) == keys:
            return
        subject = subjects.targets(NODE)
        await capture.client.jetstream().publish(subject, msgspec.json.encode(wanted))
        await asyncio.sleep(0.05)
