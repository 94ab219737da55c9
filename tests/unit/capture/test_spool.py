"""The spool keeps order and its limit; what it gives up is counted."""

from __future__ import annotations

from services.capture.connections import News
from services.capture.parent.batches import Batch, Batches, Reading
from services.capture.parent.spool import Spool
from services.messages import ShardTotals
from tests.support.kernel_ring import record


def batch(made: Batches, size: int) -> Batch:
    spans = [memoryview(record(b"x" * size))]
    return made.build(0, Reading(1, 2), ShardTotals(), News(), spans)[0]


def test_what_is_put_first_is_taken_first() -> None:
    made, spool = Batches("n", 1, 1, 1 << 20), Spool(1 << 20)
    put = [batch(made, size) for size in (10, 20)]
    for one in put:
        assert not spool.put(one)
    assert [spool.take(), spool.take()] == put
    assert spool.bytes == 0


def test_beyond_the_limit_the_oldest_go_and_are_counted_by_payload() -> None:
    made, spool = Batches("n", 1, 1, 1 << 20), Spool(2500)
    first, second, third = (batch(made, 1000) for _ in range(3))
    assert not spool.put(first)
    assert not spool.put(second)
    assert spool.put(third) == [(first, 1000)]
    assert (spool.dropped_batches, spool.dropped_bytes) == (1, 1000)
    assert spool.take() is second
    assert len(spool) == 1


def test_the_newest_is_kept_even_if_it_alone_is_too_large() -> None:
    made, spool = Batches("n", 1, 1, 1 << 20), Spool(10)
    one = batch(made, 1000)
    assert not spool.put(one)
    assert spool.take() is one
