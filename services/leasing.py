"""Announces a replica, renews what it owns, takes what is free: the shell around leases.py.

A lease that could not be renewed runs out by this process's own clock before the bucket forgets it.
A replica whose connection is gone is found by asking where it would answer: its shards are taken
without waiting for their leases to run out. Should it live all the same, it is a stale owner,
and what that may do is fenced elsewhere (snapshots.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from services import leases, subjects
from services.buckets import Bucket, Conflict, Unavailable
from services.leases import RENEW_EVERY, Lease, View

TRY_AGAIN_AFTER = 0.25  # seconds, where the bus gave no answer
SHORTEST = 0.05  # seconds between two rounds
ASK_AGAIN_AFTER = 0.5  # seconds until a replica that seems dead is asked once more

AFTER_A_BUS_RESTART = 3.0  # seconds in which the others may claim again what they owned

Heard = Callable[[str, bool], None]  # a subject, and whether its value was deleted

log = logging.getLogger("plainwire.leases")


class LeaseBus(Protocol):
    def bucket(self, name: str) -> Bucket: ...
    async def answer(self, subject: str) -> None: ...
    async def is_dead(self, subject: str) -> bool: ...
    async def listen(self, subject: str, heard: Heard) -> None: ...


@dataclass
class Leases:
    """`changed` is set whenever `held` has other shards, or one of them became surplus."""

    bus: LeaseBus
    service: str
    me: str
    shards: int
    now: Callable[[], float]
    held: dict[int, Lease] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    counters: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._bucket = self.bus.bucket(subjects.OWNERS)
        self._hint = asyncio.Event()
        self._leaving = False
        self._suspects: frozenset[str] = frozenset()
        self._buried: dict[str, int] = {}  # found dead, by the revision of their announcement
        self._seen = View(frozenset(), {})
        self._since: dict[str, leases.Seen] = {}
        self._patient_until = 0.0
        self._stored_name = f"replica.{self.service}.{self.me}"

    async def run(self) -> None:
        """Until cancelled. A round that fails is tried again; what it holds meanwhile runs out."""
        await self.bus.answer(subjects.alive(self.service, self.me))
        for kind in ("replica", "owner"):
            await self.bus.listen(f"$KV.{subjects.OWNERS}.{kind}.{self.service}.>", self._hear)
        while True:
            pause = await self._round()
            self._hint.clear()
            await _first_of(self._hint, pause)

    async def leave(self) -> None:
        """Takes no more; the others' shares are without it from now on."""
        self._leaving = True
        await self._try(self._bucket.delete(self._stored_name))

    async def give_back(self, shard: int) -> None:
        """Free for others at once. Only after its work has stopped."""
        lease = self.held.pop(shard, None)
        if lease is not None:
            self.counters["leases_given_back"] += 1
            await self._try(self._delete(shard, lease.revision))

    async def _delete(self, shard: int, revision: int) -> None:
        try:
            await self._bucket.delete(self._key(shard), revision)
        except Conflict:  # a renewal was on its way
            found = await self._bucket.get(self._key(shard))
            if found is not None and found.value == self.me.encode():
                await self._bucket.delete(self._key(shard), found.revision)

    def lost(self, shard: int) -> None:
        if self.held.pop(shard, None) is not None:
            self.counters["leases_lost"] += 1
            self.changed.set()

    def owner_of(self, shard: int) -> str:
        """As the bucket said it last; empty where nobody is known."""
        owner = self._seen.owners.get(shard)
        return owner.replica if owner else ""

    # --- one round ------------------------------------------------------------------------------

    async def _round(self) -> float:
        """Seconds until the next one."""
        asked_at = self.now()
        self._drop_expired(asked_at)
        try:
            if not self._leaving:
                await self._bucket.put(self._stored_name, b"")
            await self._renew_all(asked_at)
            if self._leaving:
                return RENEW_EVERY
            self._look(await self._bucket.entries(f"*.{self.service}"))
        except Unavailable:
            self.counters["lease_rounds_failed"] += 1
            return TRY_AGAIN_AFTER
        dead, asked_twice = await self._dead()
        if self.now() >= self._patient_until:
            await self._follow(dead)
        return self._pause() if asked_twice else ASK_AGAIN_AFTER

    def _pause(self) -> float:
        """Until the next renewal, or until the next of the others' leases has run out."""
        now = self.now()
        ends = (seen.at + leases.STALE_AFTER - now for seen in self._since.values())
        return max(SHORTEST, min((RENEW_EVERY, *(end for end in ends if end > 0))))

    def _look(self, entries: leases.Entries) -> None:
        """Owners that are all gone at once were not gone: the bus has lost its buckets, and they
        claim their shards again once they are connected."""
        now = self.now()
        self._since = leases.seen_since(entries, self._since, now)
        seen = leases.view(leases.fresh(entries, self._since, now), self.service)
        gone = not entries.keys() - {self._stored_name, *map(self._key, self.held)}
        others = {o.replica for o in self._seen.owners.values()} - {self.me, ""}
        if others and gone:
            self._patient_until = self.now() + AFTER_A_BUS_RESTART
        self._seen = seen

    async def _renew_all(self, asked_at: float) -> None:
        """All at once: one that gets no answer does not hold up the others."""
        async with asyncio.TaskGroup() as tasks:
            renewals = [
                tasks.create_task(self._renew(lease, asked_at)) for lease in self.held.values()
            ]
        if not all(renewal.result() for renewal in renewals):
            raise Unavailable("a renewal")

    async def _renew(self, lease: Lease, asked_at: float) -> bool:
        """False where nobody can say."""
        try:
            revision = await self._claim(lease.shard, lease.revision)
            lease.renewed(revision, asked_at)
        except Conflict:
            return await self._renew_anew(lease, asked_at)
        except Unavailable:
            return False
        return True

    async def _renew_anew(self, lease: Lease, asked_at: float) -> bool:
        """The key is not what it was: an answer to an earlier renewal was lost, or the bus has
        lost its buckets, or somebody else owns the shard."""
        try:
            found = await self._bucket.get(self._key(lease.shard))
            if found is not None and (found.value or b"").decode() != self.me:
                self.lost(lease.shard)
                return True
            revision = await self._claim(lease.shard, found.revision if found else 0)
            lease.renewed(revision, asked_at)
        except Conflict:
            self.lost(lease.shard)
        except Unavailable:
            return False
        return True

    async def _dead(self) -> tuple[frozenset[str], bool]:
        """Those whose connection is gone, twice in a row; and whether nobody is left in doubt."""
        owners = {owner.replica for owner in self._seen.owners.values()}
        others = (self._seen.replicas | owners) - {self.me, ""}
        self._buried = {r: at for r, at in self._buried.items() if at == self._announced(r)}
        async with asyncio.TaskGroup() as tasks:
            asked = {
                other: tasks.create_task(self.bus.is_dead(subjects.alive(self.service, other)))
                for other in others - self._buried.keys()
            }
        silent = frozenset(other for other, question in asked.items() if question.result())
        before, self._suspects = self._suspects, silent
        self._buried |= {other: self._announced(other) for other in silent & before}
        return frozenset(self._buried), silent <= before

    def _announced(self, replica: str) -> int:
        """The revision of its announcement: it stays dead until there is a newer one."""
        seen = self._since.get(f"replica.{self.service}.{replica}")
        return seen.revision if seen else 0

    async def _follow(self, dead: frozenset[str]) -> None:
        decided = leases.plan(self._seen, self.me, frozenset(self.held), self.shards, dead)
        for shard in decided.surplus:
            if not self.held[shard].surplus:
                self.held[shard].surplus = True
                self.changed.set()
        async with asyncio.TaskGroup() as tasks:
            for shard, revision in decided.take:
                tasks.create_task(self._take(shard, revision))

    async def _take(self, shard: int, revision: int) -> None:
        asked_at = self.now()
        try:
            taken = await self._claim(shard, revision)
        except (Conflict, Unavailable):
            return
        if self._leaving:
            await self._try(self._bucket.delete(self._key(shard), taken))
            return
        self.counters["leases_taken"] += 1
        self.held[shard] = Lease(shard, taken, asked_at + leases.VALID_FOR)
        self.changed.set()

    def _drop_expired(self, now: float) -> None:
        for lease in [lease for lease in self.held.values() if not lease.valid(now)]:
            self.lost(lease.shard)

    async def _claim(self, shard: int, revision: int) -> int:
        return await self._bucket.put(self._key(shard), self.me.encode(), revision)

    async def _try(self, write: Coroutine[Any, Any, None]) -> None:
        """What fails is found by its age."""
        try:
            await write
        except (Conflict, Unavailable) as error:
            log.debug("leases: %s", type(error).__name__)

    def _key(self, shard: int) -> str:
        return f"owner.{self.service}.{shard}"

    def _hear(self, subject: str, deleted: bool) -> None:
        """A hint: something was given back, or somebody is new. Renewals are neither."""
        name = subject.rpartition(".")[2]
        news = "replica" in subject and name not in self._seen.replicas and name != self.me
        if deleted or news:
            self._hint.set()


async def _first_of(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
