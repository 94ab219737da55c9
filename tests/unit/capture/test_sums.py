"""Capture's own equation, over shards and lives of the child."""

from __future__ import annotations

from services.capture.parent import sums
from services.messages import BytesLedger, Losses, ShardTotals

SHARDS = [
    ShardTotals(
        seen_bytes=100, seen_records=3, submitted_bytes=80, lost=Losses(ring_full=5, shed=15)
    ),
    ShardTotals(seen_bytes=50, seen_records=2, submitted_bytes=50, connections=1),
]


def holds(found: BytesLedger) -> bool:
    lost = sum(found.gaps.values()) + found.shed
    return found.seen == found.parsed + found.opaque + lost + found.in_flight


def test_shards_are_added_up() -> None:
    total = sums.total(SHARDS)
    assert (total.seen, total.records, total.submitted, total.connections) == (150, 5, 130, 1)
    assert total.counters()["lost_shed_bytes"] == 15


def test_what_is_neither_stored_nor_lost_is_in_flight() -> None:
    found = sums.ledger(sums.total(SHARDS), stored=90, overflowed=10, ended=False)
    assert found.gaps == {"ring_full": 5, "spool_overflow": 10}
    assert (found.shed, found.in_flight) == (15, 30)
    assert holds(found)


def test_what_an_ended_child_had_not_told_is_lost_with_it() -> None:
    found = sums.ledger(sums.total(SHARDS), stored=90, overflowed=10, ended=True)
    assert found.gaps["capture_restart"] == 30
    assert found.in_flight == 0
    assert holds(found)


def test_lives_are_joined() -> None:
    one = sums.ledger(sums.total(SHARDS), stored=90, overflowed=0, ended=True)
    both = sums.joined(one, one)
    assert (both.seen, both.parsed, both.gaps["ring_full"]) == (300, 180, 10)
    assert holds(both)
