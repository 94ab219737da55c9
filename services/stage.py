"""A stage: shards of a stream, each folded by the replica that owns it.

Which shards those are is the leases'; how one is read, published and saved is folding's. Here they
meet: a shard that was taken is begun, one that is surplus or lost is left, and at the end all are
handed on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from services import subjects
from services.bus import Bus
from services.folding import PIECE_BYTES, Folding
from services.leasing import Leases
from services.messages import ShardStatus
from services.snapshots import Expired, Fenced, Snapshots
from services.work import Service, Work

__all__ = ["Service", "Stage", "Work"]

DECIDE_EVERY = 10.0  # seconds
NOT_SAVED_FOR = 30.0  # seconds after which a shard is not ready


@dataclass
class Stage:
    """`service` folds `stream`, whose shards have the subjects `subject_of`."""

    bus: Bus
    service: Service
    stream: str
    subject_of: Callable[[int], str]
    shards: int
    node: str
    now: Callable[[], float] = field(default_factory=lambda: asyncio.get_running_loop().time)
    foldings: dict[int, Folding] = field(default_factory=dict)
    replica: str = field(default_factory=lambda: secrets.token_hex(4))

    def __post_init__(self) -> None:
        self.replica = f"{subjects.token(self.node)}-{self.replica}"
        self.leases = Leases(self.bus, self.service.name, self.replica, self.shards, self.now)
        self._running: dict[int, asyncio.Task[None]] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set; then every shard is saved and given back."""
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self.leases.run(), name="leases"),
                tasks.create_task(self._decide_regularly(), name="decide"),
                tasks.create_task(self._wake_at(stopping), name="stop"),
            ]
            while not stopping.is_set():
                self.leases.changed.clear()
                self._leave_surplus()
                self._begin_taken(tasks)
                await self.leases.changed.wait()
            await self.leases.leave()
            for folding in self.foldings.values():
                folding.leave()
            if self._running:
                await asyncio.wait(self._running.values())
            for shard in tuple(self.leases.held):
                await self.leases.give_back(shard)
            for task in background:
                task.cancel()

    def _leave_surplus(self) -> None:
        for shard in self._running:
            lease = self.leases.held.get(shard)
            if lease is None or lease.surplus or lease is not self.foldings[shard].lease:
                self.foldings[shard].leave()

    def _begin_taken(self, tasks: asyncio.TaskGroup) -> None:
        for shard, lease in self.leases.held.items():
            if shard not in self._running and not lease.surplus:
                folding = self.foldings.get(shard) or self._folding(shard)
                folding.lease = lease
                self._running[shard] = tasks.create_task(self._own(folding), name=f"shard {shard}")

    def _folding(self, shard: int) -> Folding:
        folding = self.foldings[shard] = Folding(
            self.bus,
            self.bus.telemetry,
            self.service,
            self.stream,
            self.subject_of(shard),
            shard,
            Snapshots(
                self.bus.bucket(subjects.STATE),
                f"{self.service.name}.{shard}",
                self.service.format,
                self.service.code,
                min(PIECE_BYTES, self.bus.max_payload),
                lambda: self.foldings[shard].valid(),
            ),
            self.now,
        )
        return folding

    async def _own(self, folding: Folding) -> None:
        """One shard for as long as the lease lasts. What was cut off by the bus is kept."""
        shard, lease = folding.shard, folding.lease
        try:
            await folding.run(lease)
        except Fenced:
            self.leases.counters["owners_fenced"] += 1
            folding.forget()
        except Expired:
            self.leases.counters["leases_expired"] += 1
        finally:
            del self._running[shard]
            self.leases.changed.set()
        if self.leases.held.get(shard) is lease:
            await self.leases.give_back(shard)

    async def _decide_regularly(self) -> None:
        while True:
            await asyncio.sleep(DECIDE_EVERY)
            for folding in tuple(self.foldings.values()):
                await folding.decide()

    async def _wake_at(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self.leases.changed.set()

    # --- what an operator sees ------------------------------------------------------------------

    def problem(self) -> str | None:
        """Why this is not ready, for /readyz."""
        for shard, folding in self._owned():
            age = self.now() - folding.saved_at
            if age > NOT_SAVED_FOR:
                return f"shard {shard} was not saved for {age:.0f} s"
        return None

    def counters(self) -> dict[str, int]:
        cursors = [f.cursor.counters for f in self.foldings.values() if f.cursor is not None]
        total: Counter[str] = Counter(
            {
                "messages_read": sum(c.delivered for c in cursors),
                "consumers_made": sum(c.consumers for c in cursors),
                "messages_not_contiguous": sum(c.not_contiguous for c in cursors),
                "bus_restarts": sum(c.stream_restarts for c in cursors),
                "streams_expired": sum(c.stream_expired for c in cursors),
                "streams_purged": sum(c.stream_purged for c in cursors),
                "shards_owned": len(self.service.owned),
            }
        )
        total.update(self.leases.counters)
        for folding in self.foldings.values():
            total.update(folding.counters)
        for status in self.shards_owned():
            label = f"{{shard={status.shard}}}"
            total[f"shard_position{label}"] = status.position
            total[f"shard_lag{label}"] = status.lag
            total[f"snapshot_age_ms{label}"] = status.snapshot_age_ms
            total[f"snapshot_bytes{label}"] = status.snapshot_bytes
        return dict(total)

    def shards_owned(self) -> tuple[ShardStatus, ...]:
        return tuple(self._status(shard, folding) for shard, folding in self._owned())

    def _status(self, shard: int, folding: Folding) -> ShardStatus:
        return ShardStatus(
            shard=shard,
            position=folding.position.sequence if folding.position else 0,
            lag=folding.cursor.pending if folding.cursor else 0,
            snapshot_age_ms=int((self.now() - folding.saved_at) * 1000),
            snapshot_bytes=folding.snapshots.stored_bytes,
        )

    def _owned(self) -> list[tuple[int, Folding]]:
        return [(shard, self.foldings[shard]) for shard in sorted(self.service.owned)]
