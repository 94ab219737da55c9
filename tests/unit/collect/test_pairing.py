"""Pairing: transcripts of frames, and the witnesses and sums that they give.

Not here: what is shown of bodies and headers (test_bodies, test_redaction).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from services.collect.pairing import receive
from services.messages import (
    Direction,
    FrameBatch,
    InterimHead,
    MalformedFrame,
    OpaqueFrame,
    Source,
    Witness,
)
from tests.unit.collect.transcript import (
    MS,
    NOON,
    SECOND,
    SOURCE,
    batch,
    body,
    closed,
    end,
    fold,
    gap,
    only,
    opened,
    request,
    request_head,
    reset,
    response,
    response_head,
    shard,
    tick,
    witnessed,
)

GOLDEN = Path(__file__).with_name("golden_witness.json")


def _sides(stream: int, times: tuple[int, int, int, int]) -> tuple[list, list]:
    first, last, answered, ended = (time * MS for time in times)
    return (
        [request_head(stream, first), end("request", 0, stream, last)],
        [response_head(stream, answered), end("response", 0, stream, ended)],
    )


@pytest.mark.parametrize("response_first", [False, True], ids=["request first", "response first"])
@pytest.mark.parametrize(
    ("times", "latency"),
    [
        ((0, 2, 10, 13), 8.0),
        ((0, 2, 2, 13), 0.0),
        ((0, 2, 1, 3), -1.0),
        ((0, 0, 0, 0), 0.0),
        ((3, 4, 0, 2), -4.0),
    ],
)
def test_latency_is_first_byte_of_the_response_minus_last_of_the_request(
    times: tuple[int, int, int, int], latency: float, response_first: bool
) -> None:
    asked, answered = _sides(1, times)
    frames = answered + asked if response_first else asked + answered
    assert only(witnessed(*frames)).timing.latency_ms == latency


@pytest.mark.parametrize("response_first", [False, True], ids=["request first", "response first"])
def test_times_of_zero_are_times(response_first: bool) -> None:
    asked, answered = request(), response()
    frames = [
        msgspec.structs.replace(frame, time_ns=0)
        for frame in (answered + asked if response_first else asked + answered)
    ]
    timing = only(witnessed(*frames)).timing
    assert timing.latency_ms == 0.0
    assert timing.request_start == "1970-01-01T00:00:00.000000000Z"


def test_interleaved_exchanges_keep_their_own_times() -> None:
    (a, b), (c, d) = _sides(1, (0, 2, 5, 7)), _sides(2, (1, 3, 6, 8))
    frames = [a[0], c[0], a[1], c[1], b[0], d[0], b[1], d[1]]
    assert [w.timing.latency_ms for w in witnessed(*frames)] == [3.0, 3.0]


def test_pipelined_requests_are_answered_in_their_order() -> None:
    (a, b), (c, d) = _sides(1, (0, 2, 5, 7)), _sides(2, (1, 3, 6, 8))
    found = witnessed(*a, *c, *b, *d)
    assert [(w.connection.stream, w.timing.latency_ms) for w in found] == [(1, 3.0), (2, 3.0)]


def test_a_time_that_no_calendar_has_is_left_out() -> None:
    frames = [msgspec.structs.replace(f, time_ns=1 << 70) for f in (*request(), *response())]
    assert only(witnessed(*frames)).timing.request_start is None


def test_a_witness_looks_as_the_contract_says() -> None:
    asked = [
        request_head(
            1, 0, 0x1F, (("content-type", "application/json"),),
            method="POST", path="/v1/items?x=1",
        ),
        body(b'{"name":"apple"}', "request", connection=0x1F),
        end("request", 16, at=2 * MS, connection=0x1F),
    ]  # fmt: skip
    answered = [
        response_head(1, 10 * MS, 0x1F, status=201),
        end("response", at=11 * MS, connection=0x1F),
    ]
    known = opened(0x1F, local="10.0.0.7:51234", peer="10.0.0.9:443")
    witness = only(fold(shard(), known, *asked, *answered))
    assert msgspec.json.format(msgspec.json.encode(witness)) + b"\n" == GOLDEN.read_bytes()


def test_the_role_is_server_where_the_request_came_in() -> None:
    frames = [request_head(direction=1), end("request"), *response()]
    assert only(witnessed(*frames)).role == "server"
    orphan = [response_head(direction=0), end("response"), closed()]
    assert only(witnessed(*orphan)).role == "server"


def test_streams_of_http2_pair_in_any_order() -> None:
    asked = [frame for stream in (1, 3, 5) for frame in request(stream, protocol="http/2")]
    answered = [frame for stream in (5, 1, 3) for frame in response(stream, protocol="http/2")]
    found = witnessed(*asked, *answered)
    assert [w.connection.stream for w in found] == [5, 1, 3]
    assert {w.state for w in found} == {"complete"}


def test_interim_heads_and_trailers_are_shown() -> None:
    early = InterimHead(
        connection=1, time_ns=NOON, stream=1, status=103, headers=(("link", "</a>"),)
    )
    trailers = (("grpc-status", "0"), ("x-api-key", "s3cret"))
    frames = [*request(), early, response_head(), end("response", trailers=trailers)]
    answer = only(witnessed(*frames)).response
    assert answer is not None
    assert [(i.status, i.headers) for i in answer.interim] == [(103, (("link", "</a>"),))]
    assert answer.trailers == (("grpc-status", "0"), ("x-api-key", "*REDACTED*"))


def test_more_interim_heads_than_the_limit_are_counted() -> None:
    state = shard(interims_of_exchange=2)
    early = InterimHead(connection=1, time_ns=NOON, stream=1, status=100, headers=())
    answer = only(fold(state, opened(), *request(), *[early] * 5, *response())).response
    assert answer is not None
    assert len(answer.interim) == 2
    assert state.counters == {"interims_dropped": 3}


def test_switching_protocols_is_the_response() -> None:
    switch = InterimHead(connection=1, time_ns=NOON, stream=1, status=101, headers=())
    witness = only(witnessed(*request(), switch, end("response")))
    assert witness.state == "complete"
    assert witness.response is not None
    assert witness.response.status == 101


def test_a_gap_in_a_body_is_named_and_nothing_after_it_is_shown() -> None:
    frames = [
        *request(),
        response_head(),
        body(b"before"),
        gap("response.body", 4, offset=6),
        body(b"after", offset=10),
        end("response", 15),
    ]
    witness = only(witnessed(*frames))
    assert witness.state == "partial"
    assert msgspec.json.encode(witness.gaps) == (
        b'[{"in":"response.body","offset":6,"bytes":4,"reason":"ring_full"}]'
    )
    assert witness.response is not None
    shown = witness.response.body
    assert (shown.text, shown.size, shown.captured, shown.truncated_by) == ("before", 15, 6, "gap")


def test_body_bytes_that_no_frame_brought_are_a_gap() -> None:
    hole = [*request(), response_head(), body(b"late", offset=6), end("response", 10)]
    tail = [*request(2), response_head(2), body(b"early", stream=2), end("response", 9, 2)]
    found = witnessed(*hole, *tail)
    assert [[(g.offset, g.bytes, g.reason) for g in w.gaps] for w in found] == [
        [(0, 6, "frames_lost")],
        [(5, 4, "frames_lost")],
    ]


def test_a_lost_head_leaves_the_other_side() -> None:
    witness = only(witnessed(gap("request.head"), end("request"), *response()))
    assert (witness.state, witness.request) == ("partial", None)
    assert witness.gaps[0].part == "request.head"


@pytest.mark.parametrize(
    ("frames", "reason", "state", "reasons"),
    [
        (request(), "freed", "no_response", ("connection_closed",)),
        (response(), "freed", "no_request", ("connection_closed",)),
        ([*request(), response_head()], "freed", "partial", ("connection_closed",)),
        (request(), "exited", "no_response", ("process_exited",)),
        (request(), "capture_restart", "partial", ("capture_restart",)),
        ([*request(), response_head()], "evicted", "partial", ("connection_evicted",)),
        ([request_head(), gap("ingress", stream=None)], "freed", "partial", ("connection_closed",)),
        ([gap("egress", stream=None), *response()], "freed", "partial", ("connection_closed",)),
    ],
)
def test_a_close_ends_what_is_open(
    frames: list, reason: str, state: str, reasons: tuple[str, ...]
) -> None:
    witness = only(witnessed(*frames, closed(reason)))
    assert (witness.state, witness.partial_reasons) == (state, reasons)


def test_a_gap_before_a_request_is_not_its() -> None:
    witness = only(witnessed(gap("egress", stream=None), *request(), closed()))
    assert (witness.state, witness.gaps) == ("no_response", ())


def test_a_size_is_unknown_where_bytes_without_owner_are_missing() -> None:
    frames = [*request(), response_head(), body(b"abc"), gap("ingress", stream=None), closed()]
    answer = only(witnessed(*frames)).response
    assert answer is not None
    assert (answer.body.size, answer.body.captured) == (None, 3)


@pytest.mark.parametrize(
    ("code", "reason"), [(8, "rst_cancel"), (0, "rst_no_error"), (99, "rst_unknown")]
)
def test_a_reset_ends_the_exchange_with_its_code(code: int, reason: str) -> None:
    state = shard()
    witness = only(fold(state, opened(), *request(), reset(code), *response()))
    assert (witness.state, witness.partial_reasons) == ("reset", (reason,))
    assert state.counters["frames_late"] == 2
    assert state.partial == {"reset": 1}


ASKING = [request_head(1, protocol="http/2"), body(b"half", side="request")]


@pytest.mark.parametrize("sender", list(Direction))
@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        (0, "complete", "rst_no_error"),
        (8, "complete", "rst_cancel"),
        (2, "reset", "rst_internal_error"),
        (5, "reset", "rst_stream_closed"),
        (13, "reset", "rst_http_1_1_required"),
    ],
)
def test_a_whole_answer_to_half_a_request_is_complete_unless_the_reset_is_an_error(
    code: int, state: str, reason: str, sender: Direction
) -> None:
    """RFC 9113 §8.1: a server may answer before it has read everything."""
    told = shard()
    answer = response(1, b"no", protocol="http/2")
    witness = only(fold(told, opened(), *ASKING, *answer, reset(code, direction=sender)))
    assert (witness.state, witness.partial_reasons) == (state, (reason,))
    assert witness.request is not None
    assert (witness.request.body.text, witness.timing.request_end) == ("half", None)
    assert told.complete == (state == "complete")
    assert told.partial == ({} if state == "complete" else {"reset": 1})


@pytest.mark.parametrize("code", [0, 8])
def test_a_reset_before_the_answers_end_is_a_reset_whatever_its_code(code: int) -> None:
    answer = response(1, b"no", protocol="http/2")[:-1]
    assert only(witnessed(*ASKING, *answer, reset(code))).state == "reset"
    whole = request(1, protocol="http/2")
    assert only(witnessed(*whole, *answer, reset(code))).state == "reset"


def test_a_reset_after_an_answer_without_its_request_tells_of_no_request() -> None:
    answer = response(1, b"no", protocol="http/2")
    assert only(witnessed(*answer, reset(0))).state == "no_request"


@pytest.mark.parametrize("stream", [1, None], ids=["its own", "the connection's"])
def test_a_gap_in_half_a_request_stays_with_its_whole_answer(stream: int | None) -> None:
    part = "request.body" if stream else "egress"
    lost = [ASKING[0], gap(part, stream=stream), *response(1, protocol="http/2")]
    witness = only(witnessed(*lost, reset(0)))
    assert (witness.state, [found.part for found in witness.gaps]) == ("partial", [part])


def test_malformed_bytes_make_an_exchange_partial_and_anomalies_do_not() -> None:
    def malformed(size: int, stream: int | None = 1) -> MalformedFrame:
        return MalformedFrame(
            connection=1, time_ns=NOON, direction=1, stream=stream, protocol="http/1.1",
            reason="no trailers", bytes=size,
        )  # fmt: skip

    broken = only(witnessed(*request(), response_head(), malformed(9), closed()))
    assert (broken.state, broken.partial_reasons) == ("partial", ("connection_closed", "malformed"))
    whole = only(witnessed(*request(), malformed(0), *response()))
    assert (whole.state, whole.partial_reasons) == ("complete", ())
    unowned = only(witnessed(*request(), malformed(9, None), closed()))
    assert unowned.partial_reasons == ("connection_closed", "malformed")


def test_opaque_bytes_are_no_exchange() -> None:
    opaque = OpaqueFrame(connection=1, time_ns=NOON, direction=0, protocol="unknown", bytes=7)
    assert witnessed(opaque, closed()) == []


def test_a_request_waits_for_its_response_until_a_tick_says_that_it_is_late() -> None:
    state = shard()
    assert fold(state, opened(), *request(), tick(599 * SECOND)) == []
    witness = only(fold(state, tick(606 * SECOND, counter=2)))
    assert (witness.state, witness.partial_reasons) == ("no_response", ("timeout",))
    assert fold(state, *response()) == []
    assert state.counters == {"frames_late": 2}


def test_a_late_request_does_not_make_a_second_witness() -> None:
    state = shard()
    assert only(fold(state, opened(), *response(), tick(700 * SECOND))).state == "no_request"
    assert fold(state, *request()) == []
    assert state.ledger().begun == 1


def test_another_nodes_time_ends_nothing() -> None:
    state = shard()
    elsewhere = msgspec.structs.replace(tick(700 * SECOND), node="n2")
    assert fold(state, opened(), *request(), elsewhere) == []


def test_a_request_that_came_after_another_says_that_the_first_is_lost() -> None:
    for newer in (2, 3):
        found = witnessed(*response(1), *request(newer))
        assert [(w.state, w.partial_reasons) for w in found] == [("no_request", ("overtaken",))]
    found = witnessed(response_head(1), *request(2), end("response"))
    assert [(w.state, w.partial_reasons) for w in found] == [("no_request", ("overtaken",))]


def test_a_pushed_request_says_nothing_of_the_clients_own() -> None:
    pushed = request(2, protocol="http/2")
    assert witnessed(*response(1, protocol="http/2"), *pushed) == []


def test_http1_answers_in_order_so_an_older_request_gets_no_response_any_more() -> None:
    found = witnessed(*request(1), gap("ingress"), *request(2), *response(2))
    assert [(w.connection.stream, w.state) for w in found] == [(1, "partial"), (2, "complete")]


def test_http2_may_answer_a_newer_request_first() -> None:
    frames = [*request(1, protocol="http/2"), *request(3, protocol="http/2")]
    found = witnessed(*frames, *response(3, protocol="http/2"), *response(1, protocol="http/2"))
    assert [w.state for w in found] == ["complete", "complete"]


def test_stream_numbers_that_begin_anew_make_new_ids() -> None:
    found = witnessed(*request(1), *response(1), *request(1), *response(1))
    assert [w.state for w in found] == ["complete", "complete"]
    assert found[0].id != found[1].id


def test_a_second_request_on_an_open_stream_ends_the_first() -> None:
    found = witnessed(*request(1), *request(1), *response(1))
    assert [(w.state, w.partial_reasons) for w in found] == [
        ("partial", ("stream_reused",)),
        ("complete", ()),
    ]
    assert found[0].id != found[1].id


def test_an_evicted_connection_that_comes_back_makes_new_ids() -> None:
    frames = [*request(), *response()]
    found = witnessed(*frames, closed("evicted"), opened(), *frames)
    assert found[0].id != found[1].id


def test_a_new_epoch_of_capture_ends_the_nodes_older_connections() -> None:
    state = shard()
    fold(state, opened(1), *request(), tick())
    newer = batch(2, opened(2), *request(connection=2), tick(epoch=2), epoch=2)
    witness = only(receive(state, newer))
    assert (witness.connection.id, witness.partial_reasons) == (
        "0" * 15 + "1",
        ("capture_restart",),
    )
    assert list(state.connections) == [2]


def test_the_last_tick_of_an_epoch_leaves_nothing_open() -> None:
    state = shard()
    witness = only(fold(state, opened(), *request(), tick(final=True)))
    assert (witness.state, witness.partial_reasons) == ("no_response", ("capture_ended",))
    assert (state.connections, state.exchanges) == ({}, {})


@pytest.mark.parametrize("part", [1, 3])
def test_an_origin_that_no_number_is_as_long_as_is_survived(part: int) -> None:
    state = shard()
    parts = ["node", "1", "0", "1"]
    parts[part] = "9" * 5000
    hostile = FrameBatch(shard=0, counter=1, origin="/".join(parts), piece=0, frames=())
    assert receive(state, hostile) == []
    assert len(fold(state, opened(), *request(1), *response(1))) == 1


def test_a_batch_that_comes_twice_is_folded_once() -> None:
    state = shard()
    first = batch(1, opened(), *request(), *response())
    assert len(receive(state, first)) == 1
    assert receive(state, first) == []
    assert state.counters == {"batches_duplicate": 1}


def test_batches_that_are_missing_are_counted() -> None:
    state = shard()
    receive(state, batch(3, opened()))
    receive(state, batch(7, *request()))
    assert state.counters == {"batches_before_start": 2, "batches_missing": 3}


def test_a_parse_that_counts_from_one_again_is_believed() -> None:
    state = shard()
    receive(state, batch(50, opened(), *request(), raw=80))
    assert receive(state, batch(1, raw=80)) == []
    assert len(receive(state, batch(2, *response(), raw=81))) == 1
    assert state.counters["parse_restarts"] == 1


def test_a_connection_that_nobody_named_has_its_node() -> None:
    state = shard()
    witness = only(fold(state, *request(), *response()))
    assert witness.source == Source(node="n1", namespace="unknown", workload="unknown")
    assert witness.connection.mid_connection
    assert state.counters == {"connections_unnamed": 1}


def test_a_connection_that_is_named_again_keeps_what_was_known() -> None:
    proven = opened(local="10.0.0.7:1", mid_connection=True)
    witness = only(fold(shard(), proven, opened(peer="10.0.0.9:443"), *request(), *response()))
    connection = witness.connection
    assert witness.source == SOURCE
    assert (connection.local, connection.peer) == ("10.0.0.7:1", "10.0.0.9:443")
    assert connection.mid_connection


def test_too_many_open_exchanges_end_the_oldest() -> None:
    state = shard(exchanges=2)
    witness = only(fold(state, opened(), *request(1), *request(3), *request(5)))
    assert (witness.connection.stream, witness.partial_reasons) == (1, ("limit",))
    assert state.counters == {"exchanges_evicted": 1}


def test_too_many_open_exchanges_of_one_connection_end_its_oldest() -> None:
    state = shard(exchanges_of_connection=1)
    frames = [opened(1), opened(2), *request(1, connection=1), *request(1, connection=2)]
    assert fold(state, *frames) == []
    witness = only(fold(state, *request(3, connection=2)))
    assert (witness.connection.id, witness.connection.stream) == ("0" * 15 + "2", 1)


def test_too_many_buffered_bytes_end_the_oldest() -> None:
    state = shard(buffered_bytes=10)
    witness = only(
        fold(state, opened(), *request(1, b"123456"), *request(3, b"123456"), *response(3))[:1]
    )
    assert (witness.connection.stream, witness.partial_reasons) == (1, ("limit",))
    assert state.buffered == 0


def test_too_many_connections_end_the_oldest() -> None:
    state = shard(connections=1)
    witness = only(fold(state, opened(1), *request(), opened(2)))
    assert witness.partial_reasons == ("connection_evicted",)
    assert state.counters == {"connections_evicted": 1}


def test_gaps_beyond_the_limit_are_counted() -> None:
    state = shard(gaps_of_exchange=2)
    gaps = [gap("request.body", 1, offset=n) for n in range(5)]
    witness: Witness = only(fold(state, opened(), request_head(), *gaps, closed()))
    assert len(witness.gaps) == 2
    assert state.counters == {"gaps_untold": 3}


def test_a_body_is_kept_up_to_the_cap_and_its_size_is_exact() -> None:
    state = shard(body_bytes=8)
    long = [response_head(), body(b"12345"), body(b"67890", offset=5), end("response", 10)]
    answer = only(fold(state, opened(), *request(), *long)).response
    assert answer is not None
    shown = answer.body
    assert (shown.text, shown.size, shown.captured, shown.truncated_by) == (
        "12345678",
        10,
        8,
        "cap",
    )


def test_the_applications_trace_is_kept_and_another_is_derived() -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    carried = (("Traceparent", f"00-{trace}-{parent}-00"),)
    own = only(witnessed(*request(headers=carried), *response()))
    assert (own.trace.trace_id, own.trace.parent_span_id, own.trace.sampled) == (
        trace, parent, False,
    )  # fmt: skip
    assert own.request is not None
    assert own.request.headers == carried
    derived = only(witnessed(*request(), *response()))
    assert (derived.trace.trace_id, derived.trace.parent_span_id) == (derived.id, None)
    assert derived.trace.sampled
