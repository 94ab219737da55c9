"""Which replica should own which shards: decided from a view of the bucket, without a clock of its
own and without I/O. The shell that asks and writes is leasing.py.

Every replica computes the same fair share from the same names. It takes what is free up to its own,
and gives back what is above it. Nobody is told anything: the bucket is the only place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

RENEW_EVERY = 2.0  # seconds
VALID_FOR = 8.0  # after the last renewal that succeeded; the bucket forgets after 10
# A revision was asked for before anybody saw it: what others have seen for so long has run out.
STALE_AFTER = VALID_FOR + 0.5

Entries = Mapping[str, tuple[bytes | None, int]]


@dataclass(slots=True)
class Lease:
    """`revision` is the owner key's, `valid_until` is in monotonic seconds and counted from before
    the renewal was sent, so that a process that was stopped knows at once when it goes on."""

    shard: int
    revision: int
    valid_until: float
    surplus: bool = False  # to be given back after a snapshot

    def renewed(self, revision: int, asked_at: float) -> None:
        self.revision = revision
        self.valid_until = asked_at + VALID_FOR

    def valid(self, now: float) -> bool:
        return now < self.valid_until


class Seen(NamedTuple):
    revision: int
    at: float


@dataclass(frozen=True, slots=True)
class Owner:
    replica: str  # empty: it was given back
    revision: int


@dataclass(frozen=True, slots=True)
class View:
    """What the bucket says: who is there, and who owns what."""

    replicas: frozenset[str]
    owners: Mapping[int, Owner]


@dataclass(frozen=True, slots=True)
class Plan:
    """`take` are shards with the revision that their key must have, 0 for none."""

    take: tuple[tuple[int, int], ...] = ()
    surplus: frozenset[int] = field(default_factory=frozenset)


def seen_since(entries: Entries, before: Mapping[str, Seen], now: float) -> dict[str, Seen]:
    """Since when each key has had its revision, as far as this replica saw."""
    found = {}
    for key, (_, revision) in entries.items():
        known = before.get(key)
        found[key] = known if known and known.revision == revision else Seen(revision, now)
    return found


def fresh(entries: Entries, since: Mapping[str, Seen], now: float) -> Entries:
    """What has not been renewed for too long counts as deleted; it is taken behind its revision."""
    return {
        key: (None if now - since[key].at >= STALE_AFTER else value, revision)
        for key, (value, revision) in entries.items()
    }


def view(entries: Entries, service: str) -> View:
    """Keys are `replica.<service>.<id>` and `owner.<service>.<shard>`; an entry is a value, None
    where it was deleted, and its revision."""
    replicas, owners = set(), {}
    for key, (value, revision) in entries.items():
        kind, of, name = key.split(".", 2)
        if of != service:
            continue
        if kind == "replica" and value is not None:
            replicas.add(name)
        elif kind == "owner" and name.isdecimal():
            owners[int(name)] = Owner((value or b"").decode(), revision)
    return View(frozenset(replicas), owners)


def share(replicas: frozenset[str], me: str, shards: int) -> int:
    """How many of the shards are this replica's; the shares of all of them are all shards."""
    order = sorted(replicas)
    if me not in replicas:
        return 0
    return shards // len(order) + (order.index(me) < shards % len(order))


def plan(seen: View, me: str, held: frozenset[int], shards: int, dead: frozenset[str]) -> Plan:
    """What to take and what to give back. `dead` are replicas whose connection is gone."""
    living = (seen.replicas - dead) | {me}
    mine = share(living, me, shards)
    if len(held) > mine:
        return Plan(surplus=frozenset(sorted(held)[mine:]))
    free = [
        (shard, seen.owners[shard].revision if shard in seen.owners else 0)
        for shard in range(shards)
        if shard not in held and _is_free(seen, shard, me, dead)
    ]
    # Replicas that come at the same time begin at different ends.
    start = sorted(living).index(me) * len(free) // len(living)
    return Plan(take=tuple((free[start:] + free[:start])[: mine - len(held)]))


def _is_free(seen: View, shard: int, me: str, dead: frozenset[str]) -> bool:
    owner = seen.owners.get(shard)
    return owner is None or owner.replica in ("", me) or owner.replica in dead
