"""What holds for any frames in any order: the sums, one witness an exchange, replays, limits."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.collect.pairing import receive
from services.collect.state import ShardState
from services.messages import (
    AnyFrame,
    CloseFrame,
    Direction,
    InterimHead,
    MalformedFrame,
    RequestHead,
    TickFrame,
)
from tests.unit.collect.transcript import (
    NOON,
    SECOND,
    batch,
    body,
    closed,
    end,
    gap,
    grpc_message,
    opened,
    request,
    request_head,
    reset,
    response,
    response_head,
    shard,
    tick,
    websocket_message,
)

connections = st.integers(1, 3)
streams = st.integers(1, 6)
sides = st.sampled_from(["request", "response"])
payloads = st.binary(max_size=12)
protocols = st.sampled_from(["http/1.1", "http/2"])
EVENTS = (("content-type", "text/event-stream"),)


def _on(connection: int, frame: AnyFrame) -> AnyFrame:
    return msgspec.structs.replace(frame, connection=connection)


def _interim(stream: int, status: int) -> InterimHead:
    return InterimHead(
        connection=1, time_ns=NOON, stream=stream, status=status, headers=(),
        upgraded="websocket" if status == 101 else "",
    )  # fmt: skip


def _malformed(stream: int | None, size: int) -> MalformedFrame:
    return MalformedFrame(
        connection=1, time_ns=NOON, direction=Direction.EGRESS, stream=stream,
        protocol="http/2", reason="r", bytes=size,
    )  # fmt: skip


of_a_connection = st.one_of(
    st.builds(lambda s, p: request_head(s, protocol=p), streams, protocols),
    st.builds(lambda s, p: response_head(s, protocol=p), streams, protocols),
    st.builds(lambda s: response_head(s, headers=EVENTS), streams),
    st.builds(
        lambda d, side, n, s: grpc_message(d, side, n, stream=s),
        payloads,
        sides,
        st.integers(0, 2),
        streams,
    ),
    st.builds(
        lambda d, kind, s: msgspec.structs.replace(websocket_message(d, kind), stream=s),
        payloads,
        st.sampled_from(["text", "close"]),
        streams,
    ),
    st.builds(_interim, streams, st.sampled_from([100, 101, 103])),
    st.builds(
        lambda d, side, o, s: body(d, side, o, s), payloads, sides, st.integers(0, 20), streams
    ),
    st.builds(lambda side, n, s: end(side, n, s), sides, st.integers(0, 30), streams),
    st.builds(reset, st.integers(0, 20), streams),
    st.builds(
        gap,
        st.sampled_from(["request.head", "request.body", "response.body", "ingress"]),
        st.integers(0, 9),
        st.one_of(st.none(), streams),
        st.integers(0, 20),
    ),
    st.builds(_malformed, st.one_of(st.none(), streams), st.integers(0, 5)),
    st.just(opened()),
    st.builds(closed, st.sampled_from(["freed", "evicted", "capture_restart"])),
)
frames = st.one_of(
    st.builds(_on, connections, of_a_connection),
    st.builds(
        lambda at, epoch, final: tick(at * SECOND, epoch, final=final),
        st.integers(0, 2000), st.integers(1, 3), st.booleans(),
    ),
)  # fmt: skip
transcripts = st.lists(frames, max_size=60)
LIMITS = {
    "exchanges": 6, "exchanges_of_connection": 3, "buffered_bytes": 40, "connections": 2,
    "streams": 2, "part_messages": 3, "body_bytes": 16,
}  # fmt: skip


def _exact(state: ShardState) -> None:
    ledger = state.ledger()
    assert ledger.begun == (
        ledger.complete + sum(ledger.partial.values()) + ledger.filtered + ledger.open
    )


@given(transcripts)
def test_the_sums_are_exact_after_every_frame(told: list[AnyFrame]) -> None:
    state, given_out = shard(**LIMITS), 0
    for counter, frame in enumerate(told, 1):
        given_out += sum(w.final for w in receive(state, batch(counter, frame)))
        _exact(state)
        assert given_out == state.begun - len(state.exchanges)


@given(transcripts)
def test_limits_hold_and_what_is_buffered_is_known(told: list[AnyFrame]) -> None:
    state = shard(**LIMITS)
    for counter, frame in enumerate(told, 1):
        receive(state, batch(counter, frame))
        assert len(state.exchanges) <= 6
        assert len(state.connections) <= 2
        assert all(len(c.streams) <= 3 for c in state.connections.values())
        in_parts = {n for n, e in state.exchanges.items() if e.parts is not None}
        assert state.streams.keys() == in_parts
        assert len(in_parts) <= 2
        assert state.answered.keys() <= state.exchanges.keys() - in_parts
        assert state.buffered == sum(e.size() for e in state.exchanges.values()) <= 40
        for connection in state.connections.values():
            headless = sum(state.exchanges[n].request is None for n in connection.streams.values())
            assert connection.headless == headless


@given(transcripts)
def test_every_id_is_given_once(told: list[AnyFrame]) -> None:
    # A closed connection does not come back: its id is unique in space and time.
    living = [frame for frame in told if not isinstance(frame, (CloseFrame, TickFrame))]
    closes = [closed(connection=connection) for connection in (1, 2, 3)]
    ids = [(w.id, w.part) for w in receive(shard(), batch(1, *living, *closes))]
    assert len(ids) == len(set(ids))


@given(transcripts, st.lists(st.integers(0, 10), max_size=10))
def test_batches_that_come_again_change_nothing(told: list[AnyFrame], again: list[int]) -> None:
    batches = [batch(n, *told[n * 5 - 5 : n * 5]) for n in range(1, len(told) // 5 + 2)]
    once, twice = shard(), shard()
    expected = [w for b in batches for w in receive(once, b)]
    found = []
    for number, b in enumerate(batches):
        found += receive(twice, b)
        for earlier in again:
            if earlier <= number:
                assert receive(twice, batches[earlier]) == []
    assert found == expected


@given(transcripts, st.integers(0, 60))
def test_state_that_is_written_down_and_read_back_goes_on_alike(
    told: list[AnyFrame], cut: int
) -> None:
    whole, first = shard(**LIMITS), shard(**LIMITS)
    expected = [w for n, f in enumerate(told, 1) for w in receive(whole, batch(n, f))]
    found = [w for n, f in enumerate(told[:cut], 1) for w in receive(first, batch(n, f))]
    second = msgspec.msgpack.decode(msgspec.msgpack.encode(first), type=ShardState)
    found += [
        w for n, f in enumerate(told[cut:], min(cut, len(told)) + 1)
        for w in receive(second, batch(n, f))
    ]  # fmt: skip
    assert found == expected
    assert second == whole


@st.composite
def interleaved(draw: st.DrawFn) -> list[AnyFrame]:
    """Whole exchanges of one connection: each direction in its order, the two in any."""
    count = draw(st.integers(1, 5))
    protocol = draw(protocols)
    data = draw(st.lists(payloads, min_size=count, max_size=count))
    numbers = range(1, 2 * count, 2) if protocol == "http/2" else range(1, count + 1)
    asked = [f for n, d in zip(numbers, data, strict=True) for f in request(n, d, 1, protocol)]
    answered = [f for n, d in zip(numbers, data, strict=True) for f in response(n, d, 1, protocol)]
    merged: list[AnyFrame] = []
    while asked and answered:
        merged.append((asked if draw(st.booleans()) else answered).pop(0))
    return [*merged, *asked, *answered]


@given(interleaved())
def test_any_order_of_the_two_directions_gives_the_same_witnesses(told: list[AnyFrame]) -> None:
    asked = [f for f in told if isinstance(f, RequestHead) or getattr(f, "side", "") == "request"]
    ordered = [*asked, *(f for f in told if f not in asked)]

    def by_id(order: list[AnyFrame]) -> list:
        return sorted(receive(shard(), batch(1, opened(), *order)), key=lambda w: w.id)

    found = by_id(told)
    assert found == by_id(ordered)
    assert {w.state for w in found} == {"complete"}
