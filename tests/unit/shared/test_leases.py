"""Who should own what, from a view of the bucket: shares, what is free, what is given back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services import leases
from services.leases import Lease, Owner, Plan, View

SHARDS = 16
NAMES = st.frozensets(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=6)


def seen(replicas: str = "a", owners: dict[int, Owner] | None = None) -> View:
    return View(frozenset(replicas), owners or {})


def test_one_replica_takes_every_shard_at_once() -> None:
    decided = leases.plan(seen(), "a", frozenset(), SHARDS, frozenset())
    assert decided == Plan(take=tuple((shard, 0) for shard in range(SHARDS)))


def test_a_second_one_makes_half_of_them_surplus() -> None:
    owners = {shard: Owner("a", 5) for shard in range(SHARDS)}
    first = leases.plan(seen("ab", owners), "a", frozenset(range(SHARDS)), SHARDS, frozenset())
    second = leases.plan(seen("ab", owners), "b", frozenset(), SHARDS, frozenset())
    assert first == Plan(surplus=frozenset(range(8, 16)))
    assert second == Plan()


def test_what_was_given_back_is_taken_behind_its_revision() -> None:
    owners = {0: Owner("a", 5), 1: Owner("", 9)}
    assert leases.plan(seen("ab", owners), "b", frozenset(), 2, frozenset()).take == ((1, 9),)


def test_the_shards_of_a_dead_replica_are_free_and_its_share_is_gone() -> None:
    owners = {shard: Owner("b", 5) for shard in range(4)}
    decided = leases.plan(seen("ab", owners), "a", frozenset(), 4, frozenset("b"))
    assert decided.take == tuple((shard, 5) for shard in range(4))


def test_a_lease_counts_from_before_its_renewal_was_asked_for() -> None:
    lease = Lease(1, 5, valid_until=8.0)
    lease.renewed(6, asked_at=2.0)
    assert lease.valid(9.9)
    assert not lease.valid(10.0)


def test_a_view_has_this_services_keys_only() -> None:
    entries = {
        "replica.parse.a": (b"", 1),
        "replica.parse.left": (None, 2),
        "replica.collect.b": (b"", 3),
        "owner.parse.0": (b"a", 4),
        "owner.parse.1": (None, 5),
        "owner.parse.nonsense": (b"a", 6),
        "owner.collect.0": (b"b", 7),
    }
    assert leases.view(entries, "parse") == seen("a", {0: Owner("a", 4), 1: Owner("", 5)})


@given(NAMES, st.integers(1, 64))
def test_the_shares_of_all_replicas_are_all_shards_and_differ_by_one(
    replicas: frozenset[str], shards: int
) -> None:
    shares = [leases.share(replicas, me, shards) for me in replicas]
    assert sum(shares) == shards
    assert max(shares) - min(shares) <= 1


@given(NAMES, st.integers(1, 20), st.data())
def test_replicas_that_follow_their_plans_end_with_one_owner_for_every_shard(
    replicas: frozenset[str], shards: int, data: st.DataObject
) -> None:
    """From any distribution, dead owners included, in any order."""
    everybody = [*sorted(replicas), "dead"]
    owners = {
        shard: Owner(data.draw(st.sampled_from([*everybody, ""])), 1) for shard in range(shards)
    }
    for _ in range(3):
        for me in data.draw(st.permutations(sorted(replicas))):
            held = frozenset(s for s, owner in owners.items() if owner.replica == me)
            view = View(replicas | {"dead"}, owners)
            decided = leases.plan(view, me, held, shards, frozenset({"dead"}))
            owners |= {shard: Owner("", 2) for shard in decided.surplus}
            owners |= {shard: Owner(me, 3) for shard, _ in decided.take}
    counts = [sum(o.replica == me for o in owners.values()) for me in replicas]
    assert sum(counts) == shards
    assert counts == [leases.share(replicas, me, shards) for me in replicas]


def test_what_is_not_renewed_has_run_out_for_others_too() -> None:
    entries = {"owner.parse.0": (b"b", 7), "replica.parse.b": (b"", 8)}
    since = leases.seen_since(entries, {}, now=100.0)
    renewed = {**entries, "replica.parse.b": (b"", 9)}
    since = leases.seen_since(renewed, since, now=102.0)
    assert leases.fresh(renewed, since, now=108.4) == renewed
    assert leases.fresh(renewed, since, now=108.5)["owner.parse.0"] == (None, 7)
    assert leases.fresh(renewed, since, now=108.5)["replica.parse.b"] == (b"", 9)
