"""Heads, counters and sizes of raw batches."""

from __future__ import annotations

import pytest

from services.capture.connections import News
from services.capture.parent.batches import Batches, Reading
from services.messages import Closed, Final, Losses, Opened, ShardTotals, Source
from services.records import decode_raw
from tests.support.kernel_ring import record

LIMIT = 1 << 20
NOW = Reading(boot_ns=500, anchor_ns=1000)
TOTALS = ShardTotals(seen_bytes=5)
NOTHING = ShardTotals()


def batches(limit: int = LIMIT) -> Batches:
    return Batches("node", 7, 2, limit)


def opened(connection: int) -> Opened:
    return Opened(
        connection=connection, source=Source(node="node", namespace="host"), first_boot_ns=1
    )


def closed(connection: int) -> Closed:
    final = Final(offset=0, lost=Losses())
    return Closed(connection=connection, boot_ns=1, egress=final, ingress=final)


def test_a_tick_is_a_batch_without_records() -> None:
    (batch,) = batches().build(1, NOW, TOTALS, News(), [])
    head, records = decode_raw(batch.data)
    assert batch.message_id == "node/7/1/1"
    assert (head.node, head.epoch, head.shard, head.counter) == ("node", 7, 1, 1)
    assert (head.boot_ns, head.anchor_ns, head.totals) == (500, 1000, TOTALS)
    assert not records


def test_each_shard_counts_for_itself() -> None:
    made = batches()
    counters = [made.build(shard, NOW, TOTALS, News(), [])[0].counter for shard in (0, 0, 1, 0)]
    assert counters == [1, 2, 1, 3]


@pytest.mark.parametrize(
    ("totals", "news", "spans"),
    [
        (NOTHING, News(opened=[opened(5)]), []),
        (NOTHING, News(), [memoryview(record(b"x"))]),
        (ShardTotals(connections=1), News(), []),
        (ShardTotals(seen_bytes=1), News(), []),
    ],
    ids=["named", "records", "shed from its beginning", "not followed"],
)
def test_a_shard_ticks_for_ever_once_it_had_a_connection(
    totals: ShardTotals, news: News, spans: list[memoryview]
) -> None:
    made = batches()
    made.build(0, NOW, NOTHING, News(), [])
    made.build(1, NOW, totals, news, spans)
    assert [made.is_due(shard, NOTHING) for shard in (0, 1)] == [False, True]


def test_a_shard_is_due_where_its_totals_say_more_than_any_batch_did() -> None:
    assert batches().is_due(0, ShardTotals(connections=1, seen_bytes=9))


def lowest_held(made: Batches) -> int:
    return decode_raw(made.build(0, NOW, TOTALS, News(), [])[0].data)[0].lowest_held


def test_the_lowest_that_is_held_is_the_first_that_the_bus_does_not_have() -> None:
    made = batches()
    first, second, third = (made.build(0, NOW, TOTALS, News(), [])[0] for _ in range(3))
    made.stored(second)
    assert lowest_held(made) == 1
    made.stored(first)
    assert lowest_held(made) == 3
    made.stored(third)
    assert lowest_held(made) == 4


def test_what_is_stored_is_told_in_bytes_without_what_the_spool_gave_up() -> None:
    made = batches()
    span = [memoryview(record(b"x" * 30))]
    totals = [ShardTotals(submitted_bytes=30 * n) for n in (1, 2, 3)]
    first, second, third = (made.build(0, NOW, total, News(), span)[0] for total in totals)
    made.stored(first)
    made.given_up(second, 30)
    assert (made.stored_bytes(), made.lost_bytes(), made.are_held()) == (30, 30, True)
    made.stored(third)
    assert (made.stored_bytes(), made.are_held()) == (60, False)


def test_what_the_spool_gave_up_is_said_from_then_on() -> None:
    made = batches()
    (lost,) = made.build(0, NOW, TOTALS, News(), [memoryview(record(b"x" * 30))])
    made.given_up(lost, 30)
    head, _ = decode_raw(made.build(0, NOW, TOTALS, News(), [])[0].data)
    assert (head.lowest_held, head.spool_lost_bytes) == (2, 30)


def test_connections_are_all_named_before_any_record() -> None:
    news = News(opened=[opened(n) for n in range(2000)], closed=[closed(n) for n in range(2000)])
    built = batches(64 << 10).build(0, NOW, TOTALS, news, [memoryview(record(b"x"))])
    assert len(built) > 1
    named: list[int] = []
    finished: list[int] = []
    for batch in built:
        head, records = decode_raw(batch.data)
        assert len(batch.data) <= 64 << 10
        named += [one.connection for one in head.opened]
        finished += [one.connection for one in head.closed]
        if records or head.closed:
            assert named == list(range(2000))
    assert finished == list(range(2000))
