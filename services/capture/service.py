"""Capture at work: targets in, probes on; rings in, batches out; coverage to people.

The loops and what they share. What is decided, the pure modules beside decide.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from dataclasses import dataclass, field

import msgspec

from services import subjects
from services.bus import Incoming, Outgoing
from services.capture import coverage, layout, reconcile
from services.capture.batches import Batch, Batches
from services.capture.kernel import KernelError
from services.capture.layout import Verdict
from services.capture.loaded import Kernel
from services.capture.probes import Probes
from services.capture.processes import default_verdict
from services.capture.reading import Reader
from services.capture.settings import Settings
from services.capture.spool import Spool
from services.messages import Position, ServiceLedger, Target, Targets
from services.runtime import Runtime

TICK = 1.0  # seconds
BUSY_PAUSE = 0.010  # between two looks while there is traffic
LOADED_PAUSE = 0.025  # and where a look finds so much that fewer and larger batches pay
LOADED = 256 << 10  # bytes a look
QUIET_LOOKS = 3  # empty looks before the reader asks to be woken
FILLING = 0.25  # of a ring: above it the pause is cut
CLOCKS_EVERY = 10  # ticks

log = logging.getLogger("plainwire.capture")


@dataclass
class Counters:
    reconciled: int = 0
    malformed_targets: int = 0
    attach_failures: int = 0
    woken: int = 0


@dataclass
class Service:
    runtime: Runtime
    settings: Settings
    kernel: Kernel
    epoch: int
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        bus, settings = self.runtime.bus, self.settings
        self.spool = Spool(settings.spool_mib << 20)
        self.batches = Batches(settings.node, self.epoch, settings.shards, bus.max_payload)
        self.reader = Reader(self.kernel, self.batches, self.spool)
        self.probes = Probes(self.kernel)
        self.attached: dict[str, Target] = {}
        self.failed: dict[str, str] = {}
        self.targets: Targets | None = None
        self._links: tuple[str, ...] = ()
        self._numbers: dict[str, int] = {}
        self._sending: Batch | None = None
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._woken = asyncio.Event()

    # --- targets -> probes ---

    async def follow_targets(self) -> None:
        subject = subjects.targets(self.settings.node)
        async for message in self.runtime.bus.latest(subjects.TARGETS, subject):
            await self._receive_targets(message)

    async def _receive_targets(self, message: Incoming) -> None:
        try:
            targets = msgspec.json.decode(message.payload, type=Targets)
        except (msgspec.DecodeError, ValueError):
            self.counters.malformed_targets += 1
            log.warning("malformed targets were left out")
            return
        self._links = tuple(
            value for key, value in message.headers.items() if key.lower() == "traceparent"
        )
        await self._reconcile(targets)
        await self.publish_coverage()

    async def _reconcile(self, targets: Targets) -> None:
        plan = reconcile.plan(targets.targets, self.attached)
        for key in plan.detach:
            await asyncio.to_thread(self.probes.detach, key)
            del self.attached[key]
        self.failed.clear()
        for target in plan.attach:
            await self._attach(target)
        self.targets = targets
        self.counters.reconciled += 1

    async def _attach(self, target: Target) -> None:
        key = target.identity.key()
        number = self._numbers.setdefault(key, len(self._numbers) + 1)
        self.reader.connections.libraries[number] = target.library
        try:
            await asyncio.to_thread(self.probes.attach, target, number)
        except KernelError as error:
            self.counters.attach_failures += 1
            self.failed[key] = str(error)
            log.warning("not attached: %s", error)
        else:
            self.attached[key] = target

    async def repeat_coverage(self) -> None:
        while True:
            await asyncio.sleep(self.settings.coverage_seconds)
            await self.publish_coverage()

    async def publish_coverage(self) -> None:
        targets = self.targets or Targets(node=self.settings.node, time_ns=0, targets=())
        told = coverage.describe(
            targets, self.attached, self.failed, self._included, (time.time_ns(), self.epoch)
        )
        subject = subjects.coverage(self.settings.node)
        await self.runtime.bus.publish(Outgoing(subject, msgspec.json.encode(told)))

    def _included(self, pid: int) -> bool:
        verdict = self.kernel.verdict(pid) or default_verdict(self.settings)
        return verdict is Verdict.INCLUDE

    # --- rings -> batches ---

    async def read_rings(self) -> None:
        self._read(set(range(self.settings.shards)))  # ends the node's older connections
        next_tick, looks, size, ticks = time.monotonic() + TICK, 0, 0, 0
        while True:
            if looks < QUIET_LOOKS:
                await asyncio.sleep(self._busy_pause(size))
            else:
                await self._until_woken(next_tick)
            due = None
            if time.monotonic() >= next_tick:
                next_tick, ticks = time.monotonic() + TICK, ticks + 1
                due = {n for n, shard in enumerate(self.batches.shards) if shard.active}
                if ticks % CLOCKS_EVERY == 0:
                    self.reader.measure_clocks()
            size = self._read(due)
            looks = 0 if size else looks + 1

    def _busy_pause(self, size: int) -> float:
        if self.reader.fill() > FILLING:
            return 0
        return LOADED_PAUSE if size > LOADED else BUSY_PAUSE

    async def _until_woken(self, next_tick: float) -> None:
        """Sleeps until the kernel rings or a tick is due."""
        loop = asyncio.get_running_loop()
        fds = self.kernel.control_fds
        self._woken.clear()
        self.kernel.shared[layout.WAITING] = 1
        for fd in fds:
            loop.add_reader(fd, self._woken.set)
        try:
            if not self.reader.waiting():  # what came before the bell was set would not ring it
                async with asyncio.timeout(max(0.0, next_tick - time.monotonic())):
                    await self._woken.wait()
                self.counters.woken += 1
        except TimeoutError:
            pass
        finally:
            self.kernel.shared[layout.WAITING] = 0
            for fd in fds:
                loop.remove_reader(fd)

    def _read(self, due: set[int] | None, *, final: bool = False) -> int:
        if not self.spool and self._emptied.is_set() and not self.runtime.bus.publisher.pending:
            self.batches.acknowledged()
        size = self.reader.read(due=due, final=final)
        if self.spool:
            self._emptied.clear()
            self._filled.set()
        return size

    async def publish_batches(self) -> None:
        """The bus's window is the back-pressure; the spool in front of it is bounded."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            await self._publish_spool()
            self._emptied.set()

    async def _publish_spool(self) -> None:
        """A batch is kept until it is in the window, so that being cancelled loses none."""
        while self.spool or self._sending:
            batch = self._sending = self._sending or self.spool.take()
            subject = subjects.raw(batch.shard, self.settings.node)
            await self.runtime.bus.publish(
                Outgoing(subject, batch.data, batch.message_id, self._links)
            )
            self._sending = None

    # --- answers ---

    async def tick(self, _: bytes) -> bytes:
        """Reads at once; answers, once all is stored, up to where each shard is."""
        self._read({n for n, shard in enumerate(self.batches.shards) if shard.active})
        positions = self.positions()
        await self._emptied.wait()
        await self.runtime.bus.flush()
        return msgspec.json.encode(positions)

    async def ready(self, _: bytes) -> bytes:
        return msgspec.json.encode({"epoch": self.epoch, "attached": list(self.attached)})

    def positions(self) -> tuple[Position, ...]:
        return tuple(
            Position(node=self.settings.node, shard=n, epoch=self.epoch, counter=shard.counter)
            for n, shard in enumerate(self.batches.shards)
            if shard.active
        )

    def problem(self) -> str | None:
        return None if self.targets else "no targets from discovery yet"

    async def stop(self) -> None:
        """Detached, read a last time, each shard told that nothing follows."""
        await asyncio.to_thread(self.probes.close)
        self._read(set(range(self.settings.shards)), final=True)
        await self._publish_spool()
        await self.runtime.bus.flush()
        self.kernel.close()

    def ledger(self) -> ServiceLedger:
        return ServiceLedger(
            service="capture",
            node=self.settings.node,
            shards=tuple(range(self.settings.shards)),
            positions=self.positions(),
            counters=self._counters(),
        )

    def _counters(self) -> dict[str, int]:
        totals = [self.reader.totals(shard) for shard in range(self.settings.shards)]
        shared = self.kernel.shared
        return {
            "seen_bytes": sum(t.seen_bytes for t in totals),
            "seen_records": sum(t.seen_records for t in totals),
            "submitted_bytes": sum(t.submitted_bytes for t in totals),
            "lost_ring_full_bytes": sum(t.lost.ring_full for t in totals),
            "lost_ring_refused_bytes": sum(t.lost.ring_refused for t in totals),
            "lost_unreadable_bytes": sum(t.lost.unreadable for t in totals),
            "lost_shed_bytes": sum(t.lost.shed for t in totals),
            "lost_sent_by_kernel_bytes": sum(t.lost.sent_by_kernel for t in totals),
            "connections": sum(t.connections for t in totals),
            "connections_live": len(self.reader.connections),
            "spool_bytes": self.spool.bytes,
            "spool_dropped_batches": self.spool.dropped_batches,
            "spool_dropped_bytes": self.spool.dropped_bytes,
            "attached": len(self.attached),
            "rounds": self.reader.rounds,
            **{name: shared[n + 1] for n, name in enumerate(layout.SHARED_COUNTERS)},
            **{name: getattr(self.counters, name) for name in self.counters.__dataclass_fields__},
        }


def new_epoch() -> int:
    """Grows with every start, also across boots: Unix milliseconds."""
    return time.time_ns() // 1_000_000


def salt(node: str) -> int:
    """64 bits of the node and this boot."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    digest = hashlib.blake2b(f"{node}/{boot}/{os.getpid()}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
