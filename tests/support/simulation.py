"""Replicas of parse and collect on a bus in memory and in virtual time, and what an undisturbed run
of the same input gives. The code that runs is the real one, from leases to pairing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from services import records, subjects
from services.bus import BEHIND, Incoming, Outgoing
from services.collect import collector
from services.collect.collector import Collector
from services.collect.state import Limits as CollectLimits
from services.groups import Written
from services.messages import BytesLedger, ExchangeLedger, RawHead, raw_id
from services.parse import parser
from services.parse.limits import Limits as ParseLimits
from services.parse.parser import Parser
from services.stage import Service, Stage, Work
from tests.support.fake_bus import Crashed, FakeBus, FakeServer, FakeStream
from tests.support.virtual_time import VirtualLoop

SHARDS = 2
CALM = 15  # seconds without a change: longer than a lease
SETTLE_WITHIN = 300.0  # virtual seconds


class Kind(NamedTuple):
    stream: str
    outputs: str
    subject_of: Callable[[int], str]
    make: Callable[[], Service]


class Bug(Exception):
    """Ours, in a fold."""


BUGS = {"parse": b"bug-in-parse", "collect": b"bug-in-collect"}


class FragileParsing(parser.ShardWork):
    """Raises on some input, once it has spoilt the state."""

    def receive(self, message: Incoming) -> list[Outgoing]:
        found = super().receive(message)
        if BUGS["parse"] in message.payload:
            self.state.counter += 1000
            self.state.nodes.clear()
            raise Bug
        return found


class FragileParser(Parser):
    def begin(self, shard: int) -> FragileParsing:
        return FragileParsing(super().begin(shard).state)

    def resume(self, shard: int, written: Written) -> FragileParsing | None:
        found = super().resume(shard, written)
        return FragileParsing(found.state) if found else None


class FragileCollecting(collector.ShardWork):
    def receive(self, message: Incoming) -> list[Outgoing]:
        found = super().receive(message)
        if BUGS["collect"] in message.payload:
            self.state.complete += 1000
            self.state.exchanges.clear()
            raise Bug
        return found


class FragileCollector(Collector):
    def begin(self, shard: int) -> FragileCollecting:
        return FragileCollecting(super().begin(shard).state, self._delivery)

    def resume(self, shard: int, written: Written) -> FragileCollecting | None:
        found = super().resume(shard, written)
        return FragileCollecting(found.state, self._delivery) if found else None


KINDS = {
    "parse": Kind("RAW", "FRAMES", subjects.raw_of_shard, lambda: FragileParser(ParseLimits())),
    "collect": Kind(
        "FRAMES",
        "WITNESSES",
        subjects.frames,
        lambda: FragileCollector(CollectLimits(), 900_000, ()),
    ),
}


class Replica:
    def __init__(self, server: FakeServer, kind: str, name: str, seed: int) -> None:
        self.kind = kind
        self.bus = FakeBus(server, seed)
        self.service = KINDS[kind].make()
        self.stopping = asyncio.Event()
        self.stage = Stage(
            self.bus,  # type: ignore[arg-type]
            self.service,
            KINDS[kind].stream,
            KINDS[kind].subject_of,
            SHARDS,
            "node",
            replica=name,
        )
        self.still = False

    async def run(self) -> None:
        try:
            await self.stage.run(self.stopping)
        except BaseExceptionGroup as group:
            _, others = group.split(lambda e: isinstance(e, Crashed | asyncio.CancelledError))
            if others is not None:
                raise others from None
        except Crashed:
            pass
        self.bus.dead = True


class Simulation:
    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.server = FakeServer()
        self.replicas: list[Replica] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, kind: str) -> Replica:
        number = len(self.replicas)
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start(kind, f"{number:02}", number))
        return self.replicas[-1]

    async def _start(self, kind: str, name: str, seed: int) -> None:
        replica = Replica(self.server, kind, name, seed)
        self.replicas.append(replica)
        self._tasks.append(self.loop.create_task(replica.run()))

    def living(self, kind: str) -> list[Replica]:
        return [r for r in self.replicas if r.kind == kind and not r.bus.dead]

    def advance(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        for task in self._tasks:
            if task.done():
                task.result()

    def publish(self, head: RawHead, data: list[bytes]) -> None:
        payload = records.encode_raw(head, data)
        subject = subjects.raw(head.shard, head.node)
        self.server.streams["RAW"].store(subject, payload, raw_id(head))

    def settle(self) -> None:
        """Until what lives has read everything and saved it."""
        for replica in self.replicas:
            replica.bus.fate = None
            replica.bus.go_on()
        for kind in KINDS:
            if all(replica.stopping.is_set() for replica in self.living(kind)):
                self.start(kind)
        deadline = self.loop.time() + SETTLE_WITHIN
        calm = 0
        while calm < CALM:
            assert self.loop.time() < deadline, f"does not settle:\n{self.describe()}"
            self.advance(1.0)
            calm = calm + 1 if all(self._is_settled(kind) for kind in KINDS) else 0

    def describe(self) -> str:
        return "\n".join(
            f"{replica.kind} {number} leaving={replica.stopping.is_set()} "
            f"held={sorted(replica.stage.leases.held)} owned={sorted(replica.service.owned)} "
            + str({s: (f.position, f.outbox.done()) for s, f in replica.stage.foldings.items()})
            for number, replica in enumerate(self.replicas)
            if not replica.bus.dead
        )

    def _is_settled(self, kind: str) -> bool:
        owned = [(s, r) for r in self.living(kind) for s in r.service.owned]
        if sorted(shard for shard, _ in owned) != list(range(SHARDS)):
            return False
        return all(self._has_read_all(kind, shard, replica) for shard, replica in owned)

    def _has_read_all(self, kind: str, shard: int, replica: Replica) -> bool:
        folding = replica.stage.foldings[shard]
        inputs = _inputs(self.server.streams[KINDS[kind].stream], kind, shard)
        last = inputs[-1].sequence if inputs else 0
        read = folding.position.sequence if folding.position else 0
        return read == last and folding.outbox.done() == folding.outbox.messages

    def works(self, kind: str) -> dict[int, Work]:
        return {s: w for r in self.living(kind) for s, w in r.service.owned.items()}

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        asyncio.set_event_loop(None)


def outputs_of(server: FakeServer, kind: str) -> dict[str, bytes]:
    """Everything that was ever stored, by id; a second one of an id fails."""
    found: dict[str, bytes] = {}
    for stored in server.streams[KINDS[kind].outputs].history:
        assert stored.message_id not in found
        found[stored.message_id] = stored.payload
    return found


def undisturbed(server: FakeServer, kind: str) -> tuple[dict[str, bytes], dict[int, Work]]:
    """What one replica makes of all the input, in one go: its outputs and its states."""
    outputs: dict[str, bytes] = {}
    works: dict[int, Work] = {}
    for shard in range(SHARDS):
        works[shard] = KINDS[kind].make().begin(shard)
        for message in _inputs(server.streams[KINDS[kind].stream], kind, shard):
            bug = BUGS[kind] in message.payload
            found = works[shard].skip(message) if bug else works[shard].receive(message)
            outputs |= {o.message_id: o.payload for o in found}
    return outputs, works


def in_order(server: FakeServer) -> set[str]:
    """The ids of the witnesses of this input, had every frame been stored in its order."""
    found: set[str] = set()
    for shard in range(SHARDS):
        parse, collect = (KINDS[kind].make().begin(shard) for kind in ("parse", "collect"))
        for message in _inputs(server.streams["RAW"], "parse", shard):
            bug = BUGS["parse"] in message.payload
            for out in parse.skip(message) if bug else parse.receive(message):
                frames = Incoming(out.subject, out.payload, out.message_id, 0, {})
                bug = BUGS["collect"] in out.payload
                witnesses = collect.skip(frames) if bug else collect.receive(frames)
                found |= {witness.message_id for witness in witnesses}
    return found


def ledger_of(kind: str, works: dict[int, Work]) -> BytesLedger | ExchangeLedger | None:
    service = KINDS[kind].make()
    service.owned.update(sorted(works.items()))
    told = service.ledger()  # type: ignore[attr-defined]
    return told.bytes if kind == "parse" else told.exchanges


def _inputs(stream: FakeStream, kind: str, shard: int) -> list[Incoming]:
    prefix = KINDS[kind].subject_of(shard).removesuffix(">")
    return [
        Incoming(m.subject, m.payload, m.message_id, m.sequence, {BEHIND: str(m.behind)})
        for m in stream.history
        if m.subject.startswith(prefix)
    ]
