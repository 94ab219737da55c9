"""Exchanges that come in parts: which do, when a part comes, what it has, and how they end.

Not here: what is shown of messages (test_conversations), codings and secrets across parts
(test_unpacking, test_redaction_streams).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from services.messages import Body, Headers, Witness
from tests.unit.collect.transcript import (
    MS,
    SECOND,
    body,
    closed,
    end,
    fold,
    gap,
    grpc_message,
    only,
    opened,
    request,
    request_head,
    reset,
    response,
    response_head,
    shard,
    tick,
    told,
    upgraded,
    websocket_message,
)

GOLDEN = Path(__file__).with_name("golden_parts.json")
EVENTS: Headers = (("content-type", "text/event-stream; charset=utf-8"),)


def answered(witness: Witness) -> Body:
    assert witness.response is not None
    return witness.response.body


def shape(witnesses: list[Witness]) -> list[tuple[int, bool, str]]:
    return [(w.part, w.final, w.state) for w in witnesses]


def texts(witnesses: list[Witness]) -> list[tuple[int, int | None, str | None]]:
    bodies = [answered(w) for w in witnesses]
    return [(b.offset, b.size, b.text) for b in bodies]


def test_what_is_open_five_seconds_after_its_response_head_comes_in_parts() -> None:
    state = shard()
    begun = [opened(), *request(data=b"asked"), response_head(at=SECOND), body(b"one ")]
    assert fold(state, *begun, tick(5 * SECOND, counter=1)) == []
    first = only(fold(state, tick(6 * SECOND, counter=2)))
    assert fold(state, body(b"two ", offset=4), tick(10 * SECOND, counter=3)) == []
    second = only(fold(state, tick(11 * SECOND, counter=4)))
    last = only(fold(state, body(b"three", offset=8), end("response", 13, at=12 * SECOND)))
    found = [first, second, last]
    assert shape(found) == [(1, False, "open"), (2, False, "open"), (3, True, "complete")]
    assert texts(found) == [(0, 4, "one "), (4, 4, "two "), (8, 5, "three")]
    assert len({w.id for w in found}) == 1
    assert [w.request and (w.request.body.offset, w.request.body.size) for w in found] == [
        (0, 5), (5, 0), (5, 0),
    ]  # fmt: skip


def test_parts_look_as_the_contract_says() -> None:
    state = shard()
    frames = [
        request_head(path="/events"),
        end("request", at=MS),
        response_head(at=2 * MS, headers=EVENTS),
        body(b"data: 1\n\n"),
        tick(6 * SECOND),
        body(b"data: 2\n\n", offset=9),
        end("response", 18, at=7 * SECOND),
    ]
    found = told(state, opened(), *frames)
    assert msgspec.json.format(msgspec.json.encode(found)) + b"\n" == GOLDEN.read_bytes()


def test_an_exchange_that_ends_in_time_is_one_part() -> None:
    state = shard()
    frames = [response_head(headers=EVENTS), body(b"data: 1\n\n"), end("response", 9)]
    assert shape(told(state, opened(), *request(), *frames)) == [(1, True, "complete")]
    assert (state.answered, state.streams, state.buffered) == ({}, {}, 0)


def test_a_stream_that_is_silent_says_no_more_than_that_it_is_there() -> None:
    state = shard()
    ticks = [tick(n * SECOND, counter=n) for n in range(1, 60)]
    found = told(state, opened(), *request(), response_head(headers=EVENTS), *ticks)
    assert shape(found) == [(1, False, "open")]
    late = told(state, body(b"data: 1\n\n", at=60 * SECOND), tick(60 * SECOND, counter=60))
    assert texts(late) == [(0, 9, "data: 1\n\n")]


def test_a_body_of_a_kind_that_streams_is_cut_at_the_cap_into_parts() -> None:
    state = shard(body_bytes=8)
    frames = [body(b"01234567890123"), body(b"4567", offset=14), end("response", 18)]
    found = told(state, opened(), *request(), response_head(headers=EVENTS), *frames)
    assert texts(found) == [(0, 8, "01234567"), (8, 8, "89012345"), (16, 2, "67")]
    assert shape(found) == [(1, False, "open"), (2, False, "open"), (3, True, "complete")]
    assert state.buffered == 0


def test_another_body_at_the_cap_is_cut_and_stays_one_part() -> None:
    state = shard(body_bytes=8)
    found = told(
        state, opened(), *request(), response_head(), body(b"0123456789"), end("response", 10)
    )
    assert (texts(found), answered(found[0]).truncated_by) == ([(0, 10, "01234567")], "cap")


def test_what_is_passed_on_again_after_the_cap_is_in_the_next_part() -> None:
    state = shard(body_bytes=8)
    begun = [opened(), *request(), response_head(), body(b"01234567", skipped=92)]
    found = told(state, *begun, body(b"again", offset=100, at=5 * SECOND, skipped=20))
    found += told(state, end("response", 125, at=6 * SECOND))
    assert texts(found) == [(0, 100, "01234567"), (100, 25, "again")]
    assert [answered(w).truncated_by for w in found] == ["cap", "cap"]


def test_a_gap_is_told_in_its_part_and_counted_once() -> None:
    state = shard()
    begun = [opened(), *request(), response_head(headers=(("content-type", "text/plain"),))]
    frames = [body(b"one"), gap("response.body", 4, offset=3), tick(5 * SECOND)]
    after = [body(b"two", offset=7), end("response", 10)]
    found = told(state, *begun, *frames, *after)
    assert [[(g.offset, g.bytes) for g in w.gaps] for w in found] == [[(3, 4)], []]
    assert texts(found) == [(0, 7, "one"), (7, 3, "two")]
    assert shape(found)[-1] == (2, True, "partial")
    assert found[-1].partial_reasons == ("ring_full",)
    assert state.partial == {"ring_full": 1}
    assert state.ledger().begun == 1


def test_what_follows_a_gap_is_shown_from_where_no_secret_can_go_on() -> None:
    state = shard()
    begun = [opened(), *request(), response_head(headers=EVENTS)]
    cut = [body(b'data: {"token": "ab'), gap("response.body", 4, offset=19), tick(5 * SECOND)]
    after = [body(b's3cret"}\n', offset=23), body(b"\ndata: 2\n\n", offset=32), end("response", 42)]
    found = told(state, *begun, *cut, *after)
    assert texts(found) == [(0, 23, 'data: {"token": "*REDACTED*'), (33, 9, "data: 2\n\n")]
    assert state.counters["stream_bytes_not_shown"] == 10


@pytest.mark.parametrize(
    ("frames", "state"),
    [([closed()], "partial"), ([reset(8)], "reset"), ([tick(9 * SECOND, final=True)], "partial")],
)
def test_however_it_ends_the_last_part_is_final_and_counted(frames: list, state: str) -> None:
    shard_state = shard()
    begun = [opened(), *request(), response_head(headers=EVENTS), body(b"one"), tick(5 * SECOND)]
    found = told(shard_state, *begun, body(b"two", offset=3), *frames)
    assert shape(found)[0] == (1, False, "open")
    assert shape(found)[-1][1:] == (True, state)
    assert "".join(answered(w).text or "" for w in found) == "onetwo"
    ledger = shard_state.ledger()
    assert (ledger.begun, sum(ledger.partial.values()), ledger.open) == (1, 1, 0)
    assert (shard_state.streams, shard_state.buffered) == ({}, 0)


def test_a_websocket_comes_in_parts_from_its_begin() -> None:
    state = shard()
    first = told(state, opened(), *upgraded(), websocket_message(b"hi", at=SECOND))
    first += told(state, tick(5 * SECOND))
    last = told(
        state,
        websocket_message(b"bye", sender="client", at=6 * SECOND),
        websocket_message(b"done", "close", close_code=1000, at=6 * SECOND),
        end("response", at=7 * SECOND),
    )
    assert shape([*first, *last]) == [(1, False, "open"), (2, True, "complete")]
    talks = [w.websocket for w in (*first, *last)]
    assert [[(m.sender, m.text) for m in t.messages] for t in talks if t] == [
        [("server", "hi")],
        [("client", "bye"), ("server", "done")],
    ]
    assert [(t.close_code, t.close_reason) for t in talks if t] == [(None, None), (1000, "done")]


def test_the_last_part_repeats_how_a_websocket_was_closed() -> None:
    state = shard()
    close = websocket_message(b"", "close", close_code=1001)
    found = told(state, opened(), *upgraded(), close, tick(5 * SECOND), end("response"))
    assert [w.websocket and w.websocket.close_code for w in found] == [1001, 1001]


def test_messages_over_the_cap_or_too_many_begin_the_next_part() -> None:
    state = shard(body_bytes=8, part_messages=3)
    large = [websocket_message(b"12345"), websocket_message(b"6789"), websocket_message(b"0")]
    small = [websocket_message(b"", "ping") for _ in range(4)]
    found = told(state, opened(), *upgraded(), *large, *small, end("response"))
    assert [len(w.websocket.messages) for w in found if w.websocket] == [1, 3, 3]
    assert state.counters["parts_full"] == 1
    assert shape(found)[-1] == (3, True, "complete")
    assert state.buffered == 0


def test_a_call_with_one_message_a_side_is_one_part_however_large() -> None:
    state = shard(body_bytes=8)
    frames = [
        request_head(method="POST", headers=(("content-type", "application/grpc"),)),
        body(b"", "request", skipped=13),
        grpc_message(b"12345678", "request"),
        end("request", 13),
        response_head(),
        body(b"", skipped=13),
        grpc_message(b"12345678"),
        end("response", 13, trailers=(("grpc-status", "0"),)),
    ]
    assert shape(told(state, opened(), *frames)) == [(1, True, "complete")]


def test_a_call_with_more_comes_in_parts_before_it_is_answered() -> None:
    state = shard()
    head = request_head(method="POST", headers=(("content-type", "application/grpc"),))
    uploads = [grpc_message(b"m", "request", n, at=n * SECOND) for n in range(2)]
    found = told(state, opened(), head, *uploads, tick(6 * SECOND))
    assert shape(found) == [(1, False, "open")]
    assert found[0].response is None
    assert found[0].grpc is not None
    assert len(found[0].grpc.messages) == 2


def test_an_answer_whose_request_is_missing_waits_for_it_as_before() -> None:
    state = shard()
    assert told(state, opened(), *response(), tick(20 * SECOND)) == []
    assert shape(told(state, *request())) == [(1, True, "complete")]


def test_too_many_streams_end_the_idlest() -> None:
    state = shard(streams=2)
    heads = [request_head(n, protocol="http/2") for n in (1, 3, 5)]
    answers = [response_head(n, at=n * MS, protocol="http/2", headers=EVENTS) for n in (1, 3, 5)]
    busy = body(b"x", stream=1, at=SECOND)
    found = told(state, opened(), *heads, *answers, busy, tick(6 * SECOND))
    ended = only([w for w in found if w.final])
    assert (ended.connection.stream, ended.partial_reasons) == (3, ("limit",))
    assert state.counters["streams_evicted"] == 1


def test_a_stream_waits_longer_than_a_request() -> None:
    state = shard()
    told(state, opened(), *request(), response_head(headers=EVENTS), tick(5 * SECOND))
    assert told(state, tick(3000 * SECOND, counter=2)) == []
    ended = only(told(state, tick(3700 * SECOND, counter=3)))
    assert (ended.state, ended.partial_reasons) == ("partial", ("timeout",))


def test_too_many_buffered_bytes_give_streams_out_before_anything_is_lost() -> None:
    state = shard(buffered_bytes=10)
    told(state, opened(), *request(), response_head(headers=EVENTS), tick(5 * SECOND))
    found = told(state, body(b"12345678"), *request(2, b"123456"))
    assert shape(found) == [(2, False, "open")]
    assert state.buffered == 6


def test_another_nodes_time_gives_no_part() -> None:
    state = shard()
    elsewhere = msgspec.structs.replace(tick(9 * SECOND), node="n2")
    assert told(state, opened(), *request(), response_head(headers=EVENTS), elsewhere) == []


def test_an_end_that_may_have_lost_bytes_has_no_size() -> None:
    torn = msgspec.structs.replace(end("response", 3), torn=True)
    witness = only(told(shard(), opened(), *request(), response_head(), body(b"abc"), torn))
    assert (answered(witness).size, answered(witness).text) == (None, "abc")


def test_anomalies_and_pushes_are_told() -> None:
    frames = [
        request_head(2, protocol="http/2", pushed=True, anomaly="lone LF"),
        end("request", stream=2),
        *response(2, protocol="http/2"),
    ]
    witness = only(told(shard(), opened(), *frames))
    assert witness.anomalies == ("lone LF",)
    assert witness.request is not None
    assert witness.request.pushed
