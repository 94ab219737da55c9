"""Capture at work, the parent: what the child reads becomes batches, what discovery wants is passed
on to it, people are told.

Wiring of the parts beside it, and what they share. What is decided, pure modules decide.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

import msgspec

from services import subjects
from services.bus import Incoming
from services.capture import layout
from services.capture.channel import (
    Attached,
    Begin,
    Classify,
    Follow,
    Look,
    Looked,
    Overheard,
    Pulse,
    Sighted,
    ToParent,
)
from services.capture.layout import Verdict, default_verdict
from services.capture.memory import Memory
from services.capture.parent import allowances, coverage
from services.capture.parent.accounts import Accounts
from services.capture.parent.batches import Batches
from services.capture.parent.budget import Budget
from services.capture.parent.delivering import Delivery
from services.capture.parent.life import Life
from services.capture.parent.reading import Reader
from services.capture.parent.restarts import Restarts
from services.capture.parent.shedding import WHOLE
from services.capture.parent.sights import Sights
from services.capture.parent.sockets import Sockets
from services.capture.parent.spool import Spool
from services.capture.parent.supervising import Supervisor
from services.capture.parent.telling import Telling
from services.capture.settings import Settings
from services.messages import Coverage, Position, ServiceLedger, Target, Targets
from services.records import EPOCH_BITS
from services.runtime import Runtime

log = logging.getLogger("plainwire.capture")


@dataclass
class Counters:
    reconciled: int = 0
    malformed_targets: int = 0
    attach_failures: int = 0
    allowances_refused: int = 0


@dataclass
class Service:
    runtime: Runtime
    settings: Settings
    begin: Begin
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        settings, bus = self.settings, self.runtime.bus
        self.epoch, self.accounts = 0, Accounts()
        self.spool = Spool(settings.spool_mib << 20)
        self.delivery = Delivery(bus, self.spool, settings.node, self.accounts)
        restarts = Restarts(settings.restarts, settings.breaker_seconds)
        silence = settings.silence_seconds
        self.supervisor = Supervisor(self, lambda: Life(self.begin), restarts, silence)
        self.budget = Budget(bus, settings, self.accounts.sums, self._host)
        self.sights = Sights(bus, settings.node)
        self.life: Life | None = None
        self.targets: Targets | None = None
        self.attached: dict[str, Target] = {}
        self.failed: dict[str, str] = {}
        self.degraded = ""
        self._live = 0
        self._pulse = Pulse(visible=False, sent=0, seen=0)
        self._told: dict[str, int] = {}  # classes
        self._shed: dict[int, int] = {}  # living connections, by process
        self._asked: dict[int, asyncio.Event] = {}
        self.telling = Telling(bus, settings, self._coverage)
        self.sockets = Sockets(self.sights, self.telling.changed)

    async def follow_on(self) -> None:
        """The epoch grows over restarts even where the clock was set back between them."""
        bus, node = self.runtime.bus, self.settings.node
        found = await bus.last(subjects.COVERAGE, subjects.coverage(node))
        try:
            former = msgspec.json.decode(found.payload, type=Coverage).epoch if found else 0
        except (msgspec.DecodeError, ValueError):
            return
        if not former >> EPOCH_BITS:
            self.epoch = max(self.epoch, former)

    @property
    def reader(self) -> Reader | None:
        return self.accounts.reader

    # --- the child's lives ---

    def began(self, life: Life, memory: Memory) -> None:
        self.life, self.degraded = life, ""
        self.epoch = max(self.epoch + 1, time.time_ns() // 1_000_000)
        settings, limit = self.settings, self.runtime.bus.max_payload
        batches = Batches(settings.node, self.epoch, settings.shards, limit)
        given_up = self.accounts.given_up
        self.accounts.began(Reader(memory, batches, self.spool, given_up))
        self._told = self.begin.classes
        self._allow()
        if self.targets is not None:
            life.tell(Follow(self.targets.targets, self.targets.containers))

    def _host(self) -> tuple[Memory, int] | None:
        return (self.reader.memory, self.life.pid) if self.reader and self.life else None

    def _allow(self) -> None:
        """The settings have the last word."""
        own = [allowances.parse(text) for text in self.settings.workloads]
        told = self.targets.allowances if self.targets else ()
        self.budget.classes, refused = allowances.classes([*told, *own], self.budget.classes)
        self.counters.allowances_refused = refused
        found = allowances.numbers(self.budget.classes)
        if self.life is not None and found != self._told:
            self._told = found
            self.life.tell(Classify(found))

    def heard(self, message: ToParent) -> None:
        match message:
            case Looked():
                self._looked(message)
            case Attached():
                self._reconciled(message)
            case Sighted():
                self.sights.hear(message)
            case Overheard():
                self.sockets.hear(message, self._rule)

    def lost(self, why: str) -> None:
        """What it had seen and not told lies in the interval that parse calls unknown."""
        self.accounts.ended()
        self.life, self.degraded = None, why
        self.attached.clear()
        for asked in self._asked.values():
            asked.set()
        self.telling.changed()

    def _looked(self, looked: Looked) -> None:
        if self.reader is None:
            return
        self.sockets.hear_of([o for news in looked.news.values() for o in news.opened])
        self.reader.receive(looked)
        self.delivery.put()
        self._live = looked.live
        if looked.pulse is not None:
            self._pulse, self._shed = looked.pulse, looked.shed
            self.sockets.users = looked.users
        if looked.answers in self._asked:
            self._asked[looked.answers].set()

    def _reconciled(self, told: Attached) -> None:
        wanted = self.targets.targets if self.targets else ()
        self.attached = {t.identity.key(): t for t in wanted if t.identity.key() in told.keys}
        for key, reason in told.failed.items():
            if self.failed.get(key) != reason:
                self.counters.attach_failures += 1
                log.warning("not attached: %s", reason)
        self.failed = told.failed
        self.counters.reconciled += 1
        self.telling.changed()

    # --- targets in, coverage out ---

    async def follow_targets(self) -> None:
        subject = subjects.targets(self.settings.node)
        async for message in self.runtime.bus.latest(subjects.TARGETS, subject):
            self._receive_targets(message)

    def _receive_targets(self, message: Incoming) -> None:
        try:
            self.targets = msgspec.json.decode(message.payload, type=Targets)
        except (msgspec.DecodeError, ValueError):
            self.counters.malformed_targets += 1
            log.warning("malformed targets were left out")
            return
        self.delivery.links = tuple(
            value for key, value in message.headers.items() if key.lower() == "traceparent"
        )
        self._allow()
        self.telling.changed()
        if self.life is not None:
            self.life.tell(Follow(self.targets.targets, self.targets.containers))

    def _coverage(self) -> Coverage:
        targets = self.targets or Targets(node=self.settings.node, time_ns=0, targets=())
        facts, users = self.sockets.facts(targets.processes), self.sockets.not_own()
        used, rule = self.sockets.used(), self._rule
        known = coverage.Known(targets, self.attached, self.failed, rule, facts, users, used)
        told = self.sockets.remember(coverage.describe(known, time.time_ns(), self.epoch))
        return msgspec.structs.replace(
            coverage.with_shed(told, self._shed),
            degraded=self.degraded,
            admitted=self.budget.node.share / WHOLE,
            shed_connections=self._shared("connections_shed"),
            shed_bytes=self.accounts.sums().lost.shed,
        )

    def _shared(self, name: str) -> int:
        return self.reader.memory.counter(name) if self.reader else 0

    def _rule(self, pid: int) -> str:
        verdict = self.reader.memory.marks.verdict(pid) if self.reader else Verdict.DEFAULT
        return coverage.rule(verdict, default_verdict(self.settings.pids))

    # --- answers ---

    async def tick(self, _: bytes) -> bytes:
        """Reads at once; answers, once all is stored, up to where each shard is."""
        if self.life is not None:
            number = max(self._asked, default=0) + 1
            asked = self._asked[number] = asyncio.Event()
            self.life.tell(Look(number))
            await asked.wait()
            del self._asked[number]
        positions = self.positions()
        await self.delivery.flush()
        return msgspec.json.encode(positions)

    async def ready(self, _: bytes) -> bytes:
        return msgspec.json.encode({"epoch": self.epoch, "attached": list(self.attached)})

    def positions(self) -> tuple[Position, ...]:
        if self.reader is None:
            return ()
        return tuple(
            Position(node=self.settings.node, shard=n, epoch=self.epoch, counter=shard.counter)
            for n, shard in enumerate(self.reader.batches.shards)
            if shard.active
        )

    def problem(self) -> str | None:
        """Why this is not ready, for /readyz."""
        return self.degraded or (None if self.targets else "no targets from discovery yet")

    # --- sums ---

    def ledger(self) -> ServiceLedger:
        return ServiceLedger(
            service="capture",
            node=self.settings.node,
            shards=tuple(range(self.settings.shards)),
            positions=self.positions(),
            bytes=self.accounts.bytes(),
            counters={**self.accounts.sums().counters(), **self._counters()},
        )

    def _counters(self) -> dict[str, int]:
        restarts = self.supervisor.restarts
        return {
            "connections_live": self._live,
            "spool_bytes": self.spool.bytes,
            "spool_dropped_batches": self.spool.dropped_batches,
            "spool_dropped_bytes": self.spool.dropped_bytes,
            "under_way_bytes": self.delivery.under_way,
            "attached": len(self.attached),
            "rounds": self.reader.rounds if self.reader else 0,
            "restarts": restarts.total,
            "restarts_in_10_minutes": restarts.rate(asyncio.get_running_loop().time()),
            "hangs": self.supervisor.hangs,
            "canary_visible": int(self._pulse.visible),
            "canary_sent": self._pulse.sent,
            "canary_seen": self._pulse.seen,
            "connections_shed_now": sum(self._shed.values()),
            "admitted_per_mille": 1000 * self.budget.node.share // WHOLE,
            "share_lowered": self.budget.node.lowered,
            "share_raised": self.budget.node.raised,
            "load_per_mille": int(10 * self.budget.load),
            **self.sights.counters(),
            **self.sockets.counters(),
            **self.telling.counters(),
            **{name: self._shared(name) for name in layout.SHARED_COUNTERS},
            **{name: getattr(self.counters, name) for name in self.counters.__dataclass_fields__},
        }
