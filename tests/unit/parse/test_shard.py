"""Batches, nodes, connections and the bytes ledger; what protocols make of bytes is elsewhere."""

from __future__ import annotations

import msgspec
import pytest

from services.messages import (
    AnyFrame,
    CloseFrame,
    EndFrame,
    GapFrame,
    Losses,
    OpaqueFrame,
    OpenFrame,
    RequestHead,
    ResponseHead,
    ShardTotals,
    Tail,
    TickFrame,
)
from services.parse import shard
from services.parse.limits import Limits
from services.parse.shard import ShardState
from tests.support.wire import (
    CONNECTION,
    EGRESS,
    INGRESS,
    NODE,
    SOURCE,
    Kernel,
    assert_exact,
    frames_of,
)

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nContent-Length: 10\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def names(frames: list[AnyFrame]) -> list[str]:
    return [type(frame).__name__.removesuffix("Frame") for frame in frames]


def gaps(frames: list[AnyFrame]) -> list[tuple[str, int, int, str]]:
    return [(f.part, f.offset, f.bytes, f.reason) for f in frames if isinstance(f, GapFrame)]


@pytest.fixture
def kernel() -> Kernel:
    """With one connection open."""
    kernel = Kernel()
    kernel.batch(opened=(kernel.opened(),))
    return kernel


# --- batches --------------------------------------------------------------------------------------


def test_each_batch_gives_its_own_frames_and_a_tick():
    kernel, state = Kernel(), ShardState(shard=0)
    (batch,) = shard.receive(state, kernel.head(opened=(kernel.opened(),)), [])
    opened, tick = batch.frames
    assert (batch.counter, batch.origin, batch.piece) == (1, f"{NODE}/1/0/1", 0)
    assert isinstance(opened, OpenFrame)
    assert opened.source == SOURCE
    assert tick == TickFrame(
        connection=0, time_ns=kernel.now + 10**18, node=NODE, epoch=1, counter=1
    )
    (batch,) = shard.receive(state, kernel.head(), [])
    assert (batch.counter, batch.origin) == (2, f"{NODE}/1/0/2")


def test_a_large_batch_gives_pieces_that_fit():
    kernel = Kernel(ShardState(shard=0, limits=Limits(piece_bytes=2000)))
    records = [kernel.record(EGRESS, GET) for _ in range(30)]
    batches = shard.receive(kernel.state, kernel.head(opened=(kernel.opened(),)), records)
    assert len(batches) > 3
    assert [batch.piece for batch in batches] == list(range(len(batches)))
    assert [batch.counter for batch in batches] == [n + 1 for n in range(len(batches))]
    assert {batch.origin for batch in batches} == {f"{NODE}/1/0/1"}
    assert all(len(msgspec.msgpack.encode(batch)) <= 2100 for batch in batches)
    assert isinstance(batches[-1].frames[-1], TickFrame)


def test_a_repeated_batch_gives_nothing(kernel):
    head = kernel.head()
    assert shard.receive(kernel.state, head, [])
    assert shard.receive(kernel.state, head, []) == []
    assert kernel.state.counters["batches_repeated"] == 1


def test_a_batch_waits_for_an_earlier_one_that_capture_still_holds(kernel):
    first, one = kernel.head(), kernel.record(EGRESS, GET)
    second, two = kernel.head(lowest_held=first.counter), kernel.record(INGRESS, OK)
    third = kernel.head(lowest_held=first.counter)
    assert shard.receive(kernel.state, second, [two]) == []
    assert shard.receive(kernel.state, third, []) == []
    assert shard.receive(kernel.state, third, []) == []
    batches = shard.receive(kernel.state, first, [one])
    assert [batch.origin.rpartition("/")[2] for batch in batches] == ["2", "3", "4"]
    assert names(frames_of(batches)) == [
        "RequestHead", "End", "ResponseHead", "Body", "End",
    ]  # fmt: skip


def test_a_missing_batch_that_nobody_holds_is_lost_and_the_held_ones_go_on(kernel):
    lost, _ = kernel.head(), kernel.record(EGRESS, GET)
    held = kernel.head(lowest_held=lost.counter)
    assert shard.receive(kernel.state, held, []) == []
    batches = shard.receive(kernel.state, kernel.head(), [])
    assert [batch.origin.rpartition("/")[2] for batch in batches] == ["3", "4"]
    assert kernel.state.counters["batches_lost"] == 1


@pytest.mark.parametrize("limits", [Limits(held_batches=3), Limits(held_bytes=900)])
def test_batches_that_wait_are_bounded(limits):
    kernel = Kernel(ShardState(shard=0, limits=limits))
    kernel.batch()
    lost = kernel.head()
    batches = []
    for _ in range(5):
        head = kernel.head(lowest_held=lost.counter)
        batches += shard.receive(kernel.state, head, [kernel.record(EGRESS, b"x" * 100)])
    assert batches
    assert kernel.state.counters["held_overflows"] == 1
    assert kernel.state.counters["batches_lost"] == 1


def test_bytes_of_a_lost_batch_are_gaps_expired_after_two_seconds(kernel):
    kernel.batch(kernel.record(EGRESS, POST))
    kernel.head(), kernel.record(EGRESS, b"0123")
    frames = kernel.batch(kernel.record(EGRESS, b"456789"))
    assert gaps(frames) == []
    assert shard.ledger(kernel.state).in_flight == 10
    frames = kernel.tick() + kernel.tick(2.1)
    assert gaps(frames) == [("request.body", 0, 4, "expired")]
    assert names(frames) == ["Gap", "Body", "End"]
    assert_exact(kernel.state)


def test_bytes_that_the_spool_gave_up_are_its_to_the_byte_and_others_are_expired(kernel):
    kernel.batch(kernel.record(EGRESS, POST))
    kernel.head(), kernel.record(EGRESS, b"0123")
    kernel.batch(kernel.record(EGRESS, b"45"), spool_lost_bytes=4)
    kernel.head(), kernel.record(EGRESS, b"678")
    kernel.batch(kernel.record(EGRESS, b"9"), spool_lost_bytes=4)
    kernel.now += 3 * 10**9
    kernel.batch(spool_lost_bytes=4)
    kernel.now += 3 * 10**9
    kernel.batch(spool_lost_bytes=4)
    assert shard.ledger(kernel.state).gaps == {"spool_overflow": 4, "expired": 3}
    assert_exact(kernel.state)


def test_what_the_kernel_sheds_of_nobody_who_is_known_is_shed_and_not_in_flight(kernel):
    kernel.lose(EGRESS, 500, connection=99, reason="shed")
    kernel.tick()
    sums = shard.ledger(kernel.state)
    assert (sums.shed, sums.in_flight) == (500, 0)
    kernel.lose(EGRESS, 20, reason="shed")
    kernel.batch(closed=(kernel.closed(reason="shed"),))
    sums = shard.ledger(kernel.state)
    assert (sums.shed, sums.in_flight) == (520, 0)
    assert_exact(kernel.state)


# --- epochs ---------------------------------------------------------------------------------------


def test_a_new_epoch_ends_the_older_connections_of_its_node(kernel):
    kernel.batch(kernel.record(EGRESS, POST))
    kernel.seen += 100  # on its way when capture was killed
    kernel.tick()
    before = kernel.now
    kernel.epoch, kernel.counter, kernel.seen = 2, 0, 0
    batches = shard.receive(kernel.state, kernel.head(), [])
    assert [batch.origin for batch in batches] == [f"{NODE}/2/0/0", f"{NODE}/2/0/1"]
    assert [f.reason for f in frames_of(batches) if isinstance(f, CloseFrame)] == [
        "capture_restart"
    ]
    sums = shard.ledger(kernel.state)
    assert (sums.seen, sums.gaps, sums.in_flight) == (len(POST) + 100, {"capture_restart": 100}, 0)
    (interval,) = sums.unknown
    assert (interval.node, interval.from_ns) == (NODE, before + 10**18)
    assert_exact(kernel.state)


def test_a_batch_of_an_older_epoch_is_nothing(kernel):
    kernel.epoch, kernel.counter = 2, 0
    kernel.tick()
    kernel.epoch, kernel.counter = 1, 5
    assert shard.receive(kernel.state, kernel.head(), [kernel.record(EGRESS, GET)]) == []


def test_a_new_epoch_folds_what_waited_in_the_older_one(kernel):
    missing = kernel.head()
    assert not kernel.batch(kernel.record(EGRESS, GET), lowest_held=missing.counter)
    kernel.epoch, kernel.counter = 2, 0
    assert "RequestHead" in names(kernel.tick())


def test_the_final_batch_leaves_nothing_in_flight(kernel):
    kernel.batch(kernel.record(EGRESS, POST + b"0123"))
    kernel.lose(EGRESS, 2)
    kernel.seen += 5
    kernel.batch(kernel.record(INGRESS, b"HTTP/1.1 20"))
    frames = kernel.batch(final=True)
    assert isinstance(frames[-1], CloseFrame)
    sums = shard.ledger(kernel.state)
    assert (sums.in_flight, sums.gaps) == (0, {"ring_full": 2, "unexplained": 5})
    assert_exact(kernel.state)


# --- reassembly -----------------------------------------------------------------------------------


def test_records_of_one_batch_are_read_in_the_order_of_their_time(kernel):
    request, response = kernel.record(EGRESS, GET), kernel.record(INGRESS, OK)
    assert names(kernel.batch(response, request)) == [
        "RequestHead", "End", "ResponseHead", "Body", "End",
    ]  # fmt: skip


def test_a_record_ahead_of_another_waits_for_it(kernel):
    first, second = kernel.record(EGRESS, GET[:9]), kernel.record(EGRESS, GET[9:])
    assert kernel.batch(second) == []
    assert shard.ledger(kernel.state).in_flight == len(GET)
    assert names(kernel.batch(first)) == ["RequestHead", "End"]
    assert_exact(kernel.state)


def test_a_hole_that_the_kernel_explains_is_a_gap_at_once(kernel):
    kernel.batch(kernel.record(EGRESS, POST + b"01"))
    kernel.lose(EGRESS, 3)
    kernel.lose(EGRESS, 1, reason="unreadable")
    frames = kernel.batch(kernel.record(EGRESS, b"6789"))
    assert gaps(frames) == [
        ("request.body", 2, 3, "ring_full"), ("request.body", 5, 1, "unreadable"),
    ]  # fmt: skip
    assert names(frames) == ["Gap", "Gap", "Body", "End"]


def test_a_hole_that_the_kernel_does_not_explain_is_awaited(kernel):
    kernel.batch(kernel.record(EGRESS, POST + b"01"))
    under_way = kernel.record(EGRESS, b"23")
    kernel.lose(EGRESS, 2)
    assert kernel.batch(kernel.record(EGRESS, b"6789")) == []
    frames = kernel.batch(under_way)
    assert gaps(frames) == [("request.body", 4, 2, "ring_full")]
    assert names(frames) == ["Body", "Gap", "Body", "End"]


def test_kernel_counters_wrap(kernel):
    near = Losses(ring_full=2**32 - 2)
    kernel.state.table.connections[CONNECTION].flows[0].lost = near
    kernel.losses[CONNECTION, EGRESS] = near
    kernel.batch(kernel.record(EGRESS, POST))
    kernel.lose(EGRESS, 5)
    assert gaps(kernel.batch(kernel.record(EGRESS, b"56789"))) == [
        ("request.body", 0, 5, "ring_full"),
    ]  # fmt: skip


def test_counters_that_went_back_explain_nothing(kernel):
    kernel.batch(kernel.record(EGRESS, POST)._replace(lost=Losses(ring_full=7)))
    kernel.record(EGRESS, b"0")
    assert kernel.batch(kernel.record(EGRESS, b"1")) == []


def test_a_hole_without_an_explanation_is_given_up_after_ten_seconds(kernel):
    kernel.batch(kernel.record(EGRESS, POST))
    late = kernel.record(EGRESS, b"0123")
    kernel.batch(kernel.record(EGRESS, b"456789"))
    assert kernel.tick(9.9) == []
    assert gaps(kernel.tick(0.2)) == [("request.body", 0, 4, "unexplained")]
    assert kernel.batch(late) == []
    assert kernel.state.counters["late_bytes"] == 4
    assert_exact(kernel.state)


def test_progress_makes_patience_new(kernel):
    kernel.batch(kernel.record(EGRESS, POST))
    one = kernel.record(EGRESS, b"01")
    kernel.batch(kernel.record(EGRESS, b"23"))
    kernel.tick(9)
    two = kernel.record(EGRESS, b"45")
    kernel.batch(one, kernel.record(EGRESS, b"67"))
    assert gaps(kernel.tick(9)) == []
    assert names(kernel.batch(two)) == ["Body", "Body"]
    assert kernel.tick() == []
    assert not kernel.state.table.stuck


def test_a_tail_tells_of_a_loss_at_the_end_of_a_connection_that_lives(kernel):
    kernel.batch(kernel.record(EGRESS, POST))
    kernel.lose(EGRESS, 4)
    tail = Tail(connection=CONNECTION, direction=EGRESS, final=kernel.final(EGRESS))
    older = msgspec.structs.replace(tail, final=msgspec.structs.replace(tail.final, offset=1))
    assert gaps(kernel.batch(tails=(tail, older))) == [("request.body", 0, 4, "ring_full")]
    kernel.lose(INGRESS, 3)
    tail = Tail(connection=CONNECTION, direction=INGRESS, final=kernel.final(INGRESS))
    assert gaps(kernel.batch(tails=(tail,))) == [("response.head", 0, 3, "ring_full")]


def test_bytes_that_wait_are_bounded():
    kernel = Kernel(ShardState(shard=0, limits=Limits(pending=228)))
    kernel.batch(opened=(kernel.opened(),))
    kernel.record(EGRESS, b"x")
    frames = kernel.batch(kernel.record(EGRESS, b"y" * 101))
    assert gaps(frames) == [("egress", 0, 1, "buffer_full")]
    assert_exact(kernel.state)


def test_bytes_that_wait_in_a_shard_are_bounded():
    kernel = Kernel(ShardState(shard=0, limits=Limits(shard_pending=500)))
    kernel.batch(opened=tuple(kernel.opened(n) for n in (1, 2, 3)))
    records = []
    for connection in (1, 2, 3):
        kernel.record(EGRESS, b"x", connection)
        records.append(kernel.record(EGRESS, b"y" * 100, connection))
    frames = kernel.batch(*records)
    assert [f.connection for f in frames if isinstance(f, GapFrame)] == [1]
    assert kernel.state.table.pending_bytes == 2 * 228
    assert_exact(kernel.state)


# --- connections ----------------------------------------------------------------------------------


def test_a_connection_closes_when_all_of_it_has_arrived(kernel):
    last = kernel.record(EGRESS, GET)
    assert kernel.batch(closed=(kernel.closed(reason="exited"),)) == []
    frames = kernel.batch(last)
    assert names(frames) == ["RequestHead", "End", "Close"]
    assert frames[-1].reason == "exited"
    assert not kernel.state.table.connections
    assert not kernel.state.table.stuck


def test_a_lost_tail_is_a_gap_at_the_close(kernel):
    kernel.batch(kernel.record(EGRESS, POST))
    kernel.lose(EGRESS, 10, reason="shed")
    frames = kernel.batch(closed=(kernel.closed(),))
    assert gaps(frames) == [("request.body", 0, 10, "shed")]
    assert names(frames) == ["Gap", "End", "Close"]
    sums = shard.ledger(kernel.state)
    assert (sums.shed, sums.gaps) == (10, {})
    assert_exact(kernel.state)


def test_a_close_gives_up_what_never_comes(kernel):
    kernel.record(EGRESS, GET)
    assert kernel.batch(closed=(kernel.closed(),)) == []
    assert kernel.tick(9) == []
    assert names(kernel.tick(1.1)) == ["Gap", "Close"]
    assert_exact(kernel.state)


def test_a_connection_that_is_named_again_is_told_when_more_is_known(kernel):
    again = kernel.opened()
    assert kernel.batch(opened=(again,)) == []
    (opened,) = kernel.batch(opened=(msgspec.structs.replace(again, peer="10.0.0.1:443"),))
    assert isinstance(opened, OpenFrame)
    assert opened.peer == "10.0.0.1:443"


def test_a_connection_that_was_never_named_belongs_to_an_unknown_workload():
    kernel = Kernel()
    frames = kernel.batch(kernel.record(EGRESS, GET))
    assert names(frames) == ["Open", "RequestHead", "End"]
    assert frames[0].source.workload == "unknown"
    assert frames[0].mid_connection
    (named,) = kernel.batch(opened=(kernel.opened(),))
    assert named.source == SOURCE


def test_a_close_of_a_connection_that_said_nothing_is_nothing():
    kernel = Kernel()
    assert kernel.batch(closed=(kernel.closed(99),)) == []
    kernel.lose(EGRESS, 5, 98)
    assert names(kernel.batch(closed=(kernel.closed(98),))) == ["Open", "Gap", "Close"]
    assert_exact(kernel.state)


def test_the_connections_idle_for_longest_are_given_up_beyond_the_limit():
    kernel = Kernel(ShardState(shard=0, limits=Limits(connections=3)))
    for connection in (1, 2, 3):
        kernel.batch(kernel.record(EGRESS, POST, connection), opened=(kernel.opened(connection),))
    kernel.batch(kernel.record(EGRESS, b"0", 1))
    frames = kernel.batch(opened=(kernel.opened(4),))
    assert [(f.connection, f.reason) for f in frames if isinstance(f, CloseFrame)] == [
        (2, "evicted"),
    ]  # fmt: skip
    frames = kernel.batch(kernel.record(EGRESS, b"1" * 9, 2), kernel.record(EGRESS, GET, 2))
    opened, request, end, closed, opaque = frames
    assert (opened.source, opened.mid_connection) == (SOURCE, True)
    assert (closed.connection, closed.reason) == (3, "evicted")
    assert isinstance(request, RequestHead)
    assert request.stream == end.stream == 2**32 + 1
    assert isinstance(opaque, OpaqueFrame)
    assert_exact(kernel.state)


def test_what_is_remembered_of_connections_given_up_is_bounded():
    kernel = Kernel(ShardState(shard=0, limits=Limits(connections=1, tombstones=2)))
    for connection in range(1, 6):
        kernel.batch(opened=(kernel.opened(connection),))
    assert list(kernel.state.table.tombstones) == [3, 4]


def test_a_response_waits_a_second_for_a_request_that_is_under_way(kernel):
    request = kernel.record(EGRESS, GET)
    assert names(kernel.batch(kernel.record(INGRESS, OK))) == []
    frames = kernel.batch(request)
    assert names(frames) == ["RequestHead", "End", "ResponseHead", "Body", "End"]
    assert frames[2].stream == 1


def test_a_response_whose_request_never_comes_is_read_alone(kernel):
    assert kernel.batch(kernel.record(INGRESS, OK)) == []
    assert kernel.tick(0.9) == []
    frames = kernel.tick(0.2)
    assert names(frames) == ["ResponseHead", "Body", "End"]
    assert kernel.tick() == []
    assert_exact(kernel.state)


def test_what_waits_at_the_close_is_read_alone(kernel):
    frames = kernel.batch(kernel.record(INGRESS, OK), closed=(kernel.closed(),))
    assert names(frames) == ["ResponseHead", "Body", "End", "Close"]


def test_bytes_that_are_no_http_are_counted_once_a_batch(kernel):
    records = [kernel.record(EGRESS, b"\x16\x03\x01 something") for _ in range(3)]
    (opaque,) = kernel.batch(*records, kernel.record(EGRESS, GET))
    assert isinstance(opaque, OpaqueFrame)
    assert (opaque.bytes, opaque.protocol) == (kernel.seen, "unknown")
    assert kernel.state.counters["connections_opaque"] == 1


def test_positions_tell_how_far_each_node_is_folded(kernel):
    (position,) = shard.positions(kernel.state)
    assert (position.node, position.shard, position.epoch, position.counter) == (NODE, 0, 1, 1)


def test_totals_read_before_the_records_do_not_make_a_debt(kernel):
    kernel.batch(kernel.record(EGRESS, GET), totals=ShardTotals(seen_bytes=1))
    sums = shard.ledger(kernel.state)
    assert (sums.seen, sums.in_flight) == (len(GET), 0)


def test_nothing_shows_payload(kernel):
    kernel.batch(kernel.record(EGRESS, b"GET /secret HTTP/1.1\r\n"))
    kernel.record(INGRESS, b"x")
    kernel.batch(kernel.record(INGRESS, b"secret"))
    shown = repr(kernel.state.table.connections[CONNECTION].flows)
    assert "secret" not in shown


def test_two_nodes_do_not_wait_for_each_other(kernel):
    other = Kernel(kernel.state)
    head = msgspec.structs.replace(other.head(opened=(other.opened(8),)), node="node-2")
    kernel.record(EGRESS, b"x")
    kernel.batch(kernel.record(EGRESS, GET))
    shard.receive(kernel.state, head, [])
    late = msgspec.structs.replace(other.head(), node="node-2", boot_ns=10**12)
    assert frames_of(shard.receive(kernel.state, late, [])) == []


def test_an_exchange_keeps_its_end_frames(kernel):
    frames = kernel.batch(kernel.record(EGRESS, GET), kernel.record(INGRESS, OK))
    assert [f.side for f in frames if isinstance(f, EndFrame)] == ["request", "response"]
    assert [f.status for f in frames if isinstance(f, ResponseHead)] == [200]


def test_what_comes_after_a_close_that_gave_up_is_late(kernel):
    late = kernel.record(EGRESS, GET)
    kernel.batch(closed=(kernel.closed(),))
    assert names(kernel.tick(10.1)) == ["Gap", "Close"]
    tail = Tail(connection=CONNECTION, direction=EGRESS, final=kernel.final(EGRESS))
    assert kernel.batch(late, closed=(kernel.closed(),), tails=(tail,)) == []
    assert kernel.state.counters["late_bytes"] == len(GET)
    assert_exact(kernel.state)


def test_a_connection_that_ends_while_it_waits_is_waited_for_no_longer(kernel):
    assert kernel.batch(kernel.record(INGRESS, OK)) == []
    kernel.batch(closed=(kernel.closed(),))
    assert kernel.tick(2) == []
    assert not kernel.state.table.stuck


def test_a_capture_that_restarts_ends_what_was_awaited(kernel):
    kernel.record(EGRESS, b"0123")
    kernel.batch(kernel.record(EGRESS, b"456789"))
    kernel.epoch, kernel.counter, kernel.seen = 2, 0, 0
    frames = kernel.tick()
    assert gaps(frames) == [("egress", 0, 4, "capture_restart")]
    assert isinstance(frames[-1], CloseFrame)
    assert_exact(kernel.state)


def test_a_shard_gives_up_a_connection_that_closes_when_too_much_waits():
    kernel = Kernel(ShardState(shard=0, limits=Limits(shard_pending=100)))
    kernel.batch(opened=(kernel.opened(),))
    kernel.record(EGRESS, b"x")
    frames = kernel.batch(kernel.record(EGRESS, b"y" * 100), closed=(kernel.closed(),))
    assert names(frames) == ["Gap", "Opaque", "Close"]
    assert_exact(kernel.state)


def test_connections_that_take_too_much_give_way_idlest_first():
    limits = Limits(shard_buffered=100_000)
    kernel = Kernel(ShardState(shard=0, limits=limits))
    for number in range(1, 4):
        kernel.batch(
            kernel.record(EGRESS, b"GET / HTTP/1.1\r\nx: " + b"a" * 45_000, number),
            opened=(kernel.opened(number),),
        )
    assert list(kernel.state.table.connections) == [2, 3]
    assert kernel.state.counters["connections_lightened"] == 1
    assert kernel.state.table.weight <= 100_000
    assert_exact(kernel.state)


def test_a_connection_that_takes_too_much_by_itself_gives_way():
    kernel = Kernel(ShardState(shard=0, limits=Limits(buffered=10_000)))
    kernel.batch(
        kernel.record(EGRESS, b"GET /" + b"a" * 11_000), opened=(kernel.opened(),)
    )  # fmt: skip
    assert kernel.state.counters["connections_too_heavy"] == 1
    assert not kernel.state.table.connections
    assert kernel.state.table.weight == 0


def test_a_connection_without_a_byte_for_long_is_forgotten_and_found_again():
    kernel = Kernel(ShardState(shard=0, limits=Limits(idle_ns=300 * 10**9)))
    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    kernel.batch(kernel.record(EGRESS, get), opened=(kernel.opened(),))
    kernel.tick(200)
    assert kernel.state.table.connections
    kernel.tick(200)
    assert not kernel.state.table.connections
    assert kernel.state.counters["connections_expired"] == 1
    frames = kernel.batch(kernel.record(EGRESS, get))
    assert [frame.path for frame in frames if isinstance(frame, RequestHead)] == ["/"]
    assert_exact(kernel.state)


# --- nodes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("buried", [False, True])
def test_a_node_can_touch_no_connection_of_another(kernel, buried):
    kernel.batch(kernel.record(EGRESS, POST + b"01"))
    if buried:
        kernel.record(EGRESS, b"2345")
        kernel.batch(closed=(kernel.closed(),))
        kernel.tick(20)
    other = Kernel(kernel.state)
    tail = Tail(connection=CONNECTION, direction=EGRESS, final=other.final(EGRESS))
    for more in (
        {"opened": (other.opened(),)},
        {"tails": (tail,)},
        {"closed": (other.closed(),)},
    ):
        assert other.batch(other.record(EGRESS, GET), node="node-2", **more) == []
    counters = kernel.state.counters
    assert counters["bytes_of_another_node"] == 3 * len(GET)
    assert counters["connections_of_another_node"] == 6 - buried  # a close of nothing is nothing
    assert_exact(kernel.state)
    assert shard.ledger(kernel.state).seen == kernel.seen + other.seen
    if not buried:
        assert names(kernel.batch(kernel.record(EGRESS, b"23456789"))) == ["Body", "End"]


# --- what gives way -------------------------------------------------------------------------------


def test_of_too_many_nodes_the_longest_silent_is_forgotten_with_its_sums_kept():
    state = ShardState(shard=0, limits=Limits(nodes=2))
    first, second, third = (Kernel(state) for _ in range(3))
    first.batch(first.record(EGRESS, POST + b"01", 1), node="a", opened=(first.opened(1),))
    second.batch(second.record(EGRESS, GET, 2), node="b", opened=(second.opened(2),))
    first.batch(first.record(EGRESS, b"23", 1), node="a")
    frames = third.batch(third.record(EGRESS, GET, 3), node="c", opened=(third.opened(3),))
    assert sorted(state.nodes) == ["a", "c"]
    assert [(f.connection, f.reason) for f in frames if isinstance(f, CloseFrame)] == [
        (2, "node_silent")
    ]
    assert state.counters["nodes_forgotten"] == 1
    assert shard.ledger(state).seen == sum(kernel.seen for kernel in (first, second, third))
    again = Kernel(state)
    again.epoch = 2
    frames = again.batch(again.record(EGRESS, GET, 4), node="b", opened=(again.opened(4),))
    assert "RequestHead" in names(frames)
    assert sorted(state.nodes) == ["b", "c"]
    kernels = (first, second, third, again)
    assert shard.ledger(state).seen == sum(kernel.seen for kernel in kernels)


def test_intervals_without_capture_are_told_up_to_a_limit_and_counted_beyond(kernel):
    for epoch in range(2, 105):
        kernel.epoch, kernel.counter, kernel.seen = epoch, 0, 0
        kernel.tick()
    assert len(shard.ledger(kernel.state).unknown) == 100
    assert kernel.state.counters["unknown_intervals_untold"] == 3


def test_bytes_of_a_batch_that_was_passed_over_are_gaps_of_that_reason(kernel):
    kernel.batch(kernel.record(EGRESS, POST))
    kernel.head(), kernel.record(EGRESS, b"0123")
    shard.skip(kernel.state, f"plainwire.raw.0.{NODE}")
    kernel.batch(kernel.record(EGRESS, b"456789"))
    frames = kernel.tick() + kernel.tick(2.1)
    assert gaps(frames) == [("request.body", 0, 4, "skipped")]
    assert kernel.state.counters["messages_skipped"] == 1
    assert kernel.state.counters["batches_lost_skipped"] == 1
    assert_exact(kernel.state)
