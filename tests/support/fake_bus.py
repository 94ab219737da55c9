"""A bus in memory with the same contract as services.bus, where a replica can die between any two
of its awaits, or stand still while the others go on.

`FakeServer` is what all share; each `FakeBus` is one replica's connection. Every operation takes a
step before its effect and one after it; `FakeBus.fate` decides at which of them the process dies.
tests/integration/test_bus_contract.py holds it against a real server.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from services.buckets import Conflict, Entry, Part
from services.bus import BEHIND, Incoming, Outgoing
from services.cursor import CursorCounters, StreamPosition
from services.telemetry import Telemetry

MAX_PAYLOAD = 1 << 20


class Crashed(BaseException):
    """kill -9: nothing of this replica happens any more."""


@dataclass
class Stored:
    subject: str
    payload: bytes
    message_id: str
    sequence: int
    behind: int = 0


@dataclass
class FakeStream:
    """`history` is everything that was ever stored, `messages` what is still there."""

    created: str = "1"
    history: list[Stored] = field(default_factory=list)
    messages: dict[int, Stored] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def store(self, subject: str, payload: bytes, message_id: str, behind: int = 0) -> int:
        if message_id in self.ids:
            return self.ids[message_id]
        stored = Stored(subject, payload, message_id, len(self.history) + 1, behind)
        self.history.append(stored)
        self.messages[stored.sequence] = stored
        if message_id:
            self.ids[message_id] = stored.sequence
        self.arrived.set()
        return stored.sequence


class FakeServer:
    """Streams by the first two words of a subject, buckets by name, and who is connected."""

    def __init__(self) -> None:
        self.streams: dict[str, FakeStream] = defaultdict(FakeStream)
        self.buckets: dict[str, dict[str, Entry]] = defaultdict(dict)
        self.revision = 0
        self.refuses = 0.0  # the share of publications that it takes only when they come again
        self.alive: dict[str, FakeBus] = {}
        self.listeners: list[tuple[str, Callable[[str, bool], None], FakeBus]] = []

    def stream_of(self, subject: str) -> FakeStream:
        words = subject.removeprefix("plainwire.store.").removeprefix("plainwire.").split(".")
        return self.streams[words[0].upper()]

    def write(self, bucket: str, key: str, value: bytes | None, last: int | None) -> int:
        found = self.buckets[bucket].get(key)
        if last is not None and (found.revision if found else 0) != last:
            raise Conflict(key)
        self.revision += 1
        self.buckets[bucket][key] = Entry(value, self.revision)
        subject = f"$KV.{bucket}.{key}"
        for pattern, heard, bus in self.listeners:
            if subject.startswith(pattern.removesuffix(">")) and not bus.dead:
                heard(subject, value is None)
        return self.revision


class FakeBus:
    max_payload = MAX_PAYLOAD

    def __init__(self, server: FakeServer, seed: int = 0) -> None:
        self.server = server
        self.telemetry = Telemetry()
        self.dead = False
        self.fate: int | None = None  # steps until it dies
        self._running = asyncio.Event()
        self._running.set()
        self._random = random.Random(seed)

    # --- life -----------------------------------------------------------------------------------

    def die(self) -> None:
        self.dead = True
        self._running.set()

    def stand_still(self) -> None:
        self._running.clear()

    def go_on(self) -> None:
        self._running.set()

    async def step(self) -> None:
        await asyncio.sleep(self._random.choice((0, 0, 0.001, 0.01)))
        await self._running.wait()
        if self.fate is not None:
            self.fate -= 1
            if self.fate <= 0:
                self.die()
        if self.dead:
            raise Crashed

    # --- streams --------------------------------------------------------------------------------

    async def publish(
        self,
        out: Outgoing,
        stored: Callable[[int], None] | None = None,
        still: Callable[[], bool] | None = None,
    ) -> None:
        await self.step()
        if self._random.random() < self.server.refuses:
            self._send_again(out, stored, still)
        else:
            self._store(out, stored)
        await self.step()

    def _store(self, out: Outgoing, stored: Callable[[int], None] | None) -> None:
        stream = self.server.stream_of(out.subject)
        sequence = stream.store(out.subject, out.payload, out.message_id, out.behind)
        if stored is not None:
            self._later(stored, sequence)

    def _send_again(
        self,
        out: Outgoing,
        stored: Callable[[int], None] | None,
        still: Callable[[], bool] | None,
    ) -> None:
        """Refused for a moment: later ones may be stored before it is."""

        def send() -> None:
            if not self._running.is_set():
                loop.call_later(0.1, send)
            elif not self.dead and (still is None or still()):
                self._store(out, stored)

        loop = asyncio.get_running_loop()
        loop.call_later(self._random.choice((0.1, 0.5, 2.0)), send)

    def _later(self, stored: Callable[[int], None], sequence: int) -> None:
        def tell() -> None:
            if not self._running.is_set():
                loop.call_later(0.1, tell)
            elif not self.dead:
                stored(sequence)

        loop = asyncio.get_running_loop()
        loop.call_later(self._random.choice((0, 0.001, 0.02, 0.5)), tell)

    def cursor(self, stream: str, subject: str, after: StreamPosition | None = None) -> FakeCursor:
        return FakeCursor(self, self.server.streams[stream], subject, after)

    async def purge(self, position: StreamPosition, stream: str, subject: str) -> None:
        await self.step()
        messages = self.server.streams[stream].messages
        if self.server.streams[stream].created != position.created:
            return
        for sequence in [s for s, m in messages.items() if _matches(m.subject, subject)]:
            if sequence <= position.sequence:
                del messages[sequence]
        await self.step()

    # --- buckets and hints ----------------------------------------------------------------------

    def bucket(self, name: str) -> FakeBucket:
        return FakeBucket(self, name)

    async def answer(self, subject: str) -> None:
        await self.step()
        self.server.alive[subject] = self

    async def is_dead(self, subject: str) -> bool:
        await self.step()
        found = self.server.alive.get(subject)
        return found is None or found.dead

    async def listen(self, subject: str, heard: Callable[[str, bool], None]) -> None:
        await self.step()
        self.server.listeners.append((subject, heard, self))


class FakeCursor:
    """Like services.cursor.Cursor. `pending` is what lies ahead."""

    def __init__(
        self, bus: FakeBus, stream: FakeStream, subject: str, after: StreamPosition | None
    ) -> None:
        self.counters = CursorCounters()
        self._bus = bus
        self._stream = stream
        self._subject = subject
        self._after = after
        self._stopped = False

    @property
    def pending(self) -> int:
        return len(self._ahead(self._after.sequence if self._after else 0))

    def stop(self) -> None:
        self._stopped = True
        self._stream.arrived.set()

    async def __aiter__(self) -> AsyncIterator[Incoming]:
        created, sequence = self._stream.created, self._after.sequence if self._after else 0
        interrupted = "bus_restart" if self._after and self._after.created != created else ""
        if interrupted:
            sequence = 0
            self.counters.stream_restarts += 1
        while not self._stopped:
            await self._bus.step()
            ahead = self._ahead(sequence)
            if not ahead:
                self._stream.arrived.clear()
                await self._stream.arrived.wait()
                continue
            sequence = ahead[0].sequence
            self._after = StreamPosition(created, sequence)
            self.counters.delivered += 1
            if self._stopped:
                return
            yield Incoming(
                ahead[0].subject, ahead[0].payload, ahead[0].message_id, sequence,
                {BEHIND: str(ahead[0].behind)},
                interrupted, created,
            )  # fmt: skip
            interrupted = ""

    def _ahead(self, sequence: int) -> list[Stored]:
        messages = self._stream.messages
        return [
            messages[s]
            for s in sorted(messages)
            if s > sequence and _matches(messages[s].subject, self._subject)
        ]


class FakeBucket:
    """Like services.buckets.Bucket; what is older than 10 s is gone from `plainwire_owners`."""

    def __init__(self, bus: FakeBus, name: str) -> None:
        self._bus = bus
        self._name = name
        self._written: dict[str, float] = bus.server.__dict__.setdefault(f"written {name}", {})

    def _entries(self) -> dict[str, Entry]:
        entries = self._bus.server.buckets[self._name]
        if self._name == "plainwire_owners":
            now = asyncio.get_running_loop().time()
            for key in [key for key, at in self._written.items() if now - at > 10]:
                entries.pop(key, None)
        return entries

    def _write(self, key: str, value: bytes | None, last: int | None) -> int:
        self._entries()
        revision = self._bus.server.write(self._name, key, value, last)
        self._written[key] = asyncio.get_running_loop().time()
        return revision

    async def get(self, key: str) -> Entry | None:
        await self._bus.step()
        found = self._entries().get(key)
        await self._bus.step()
        return found

    async def at(self, revision: int) -> bytes | None:
        await self._bus.step()
        found = (e.value for e in self._entries().values() if e.revision == revision)
        return next(found, None)

    async def entries(self, prefix: str) -> dict[str, Entry]:
        await self._bus.step()
        pattern = f"{prefix}.>"
        found = {k: e for k, e in self._entries().items() if _matches(k, pattern)}
        await self._bus.step()
        return found

    async def put(self, key: str, value: bytes, last: int | None = None) -> int:
        await self._bus.step()
        revision = self._write(key, value, last)
        await self._bus.step()
        return revision

    async def delete(self, key: str, last: int | None = None) -> None:
        await self._bus.step()
        self._write(key, None, last)
        await self._bus.step()

    async def send(self, part: Part) -> None:
        await self._bus.step()
        revision = self._write(part.key, part.value, None)
        self._bus._later(part.stored, revision)
        await self._bus.step()

    async def clear(self, key: str) -> None:
        await self._bus.step()
        self._write(key, None, None)

    async def purge(self, prefix: str) -> None:
        await self._bus.step()
        entries = self._entries()
        for key in [key for key in entries if _matches(key, f"{prefix}.>")]:
            del entries[key]


def _matches(subject: str, pattern: str) -> bool:
    words, wanted = subject.split("."), pattern.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(words) > place
        if place >= len(words) or token not in ("*", words[place]):
            return False
    return len(words) == len(wanted)
