"""HTTP/1 under loss: what is told, what is paired, and where reading goes on.

HTTP/2's is beside its frames, the kernel's account in test_shard.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from services.messages import (
    AnyFrame,
    Direction,
    EndFrame,
    GapFrame,
    OpaqueFrame,
    RequestHead,
    ResponseHead,
)
from tests.support.wire import EGRESS, INGRESS, Kernel, assert_exact

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def kernel() -> Kernel:
    kernel = Kernel()
    kernel.batch(opened=(kernel.opened(),))
    return kernel


def say(kernel: Kernel, direction: Direction, data: bytes) -> list[AnyFrame]:
    frames = kernel.batch(kernel.record(direction, data))
    assert_exact(kernel.state)
    return frames


def gaps(frames: list[AnyFrame]) -> list[tuple[int | None, str, int, int]]:
    return [(f.stream, f.part, f.offset, f.bytes) for f in frames if isinstance(f, GapFrame)]


def heads(frames: list[AnyFrame]) -> list[tuple[str, int]]:
    return [
        (type(f).__name__[:-4], f.stream)
        for f in frames
        if isinstance(f, RequestHead | ResponseHead)
    ]


def test_a_hole_in_a_chunk_leaves_the_message_whole(kernel):
    say(kernel, EGRESS, GET)
    say(kernel, INGRESS, CHUNKED + b"a\r\n01")
    kernel.lose(INGRESS, 8)
    frames = say(kernel, INGRESS, b"\r\n1\r\nx\r\n0\r\n\r\n" + b"")
    assert gaps(frames) == [(1, "response.body", 2, 8)]
    assert [f.size for f in frames if isinstance(f, EndFrame)] == [11]
    assert heads(say(kernel, EGRESS, GET) + say(kernel, INGRESS, OK)) == [
        ("Request", 2),
        ("Response", 2),
    ]


def test_a_hole_to_the_end_of_a_body_ends_it(kernel):
    say(kernel, EGRESS, GET)
    say(kernel, INGRESS, OK[:-2])
    kernel.lose(INGRESS, 2)
    frames = say(kernel, EGRESS, GET) + say(kernel, INGRESS, OK)
    assert gaps(frames) == [(1, "response.body", 0, 2)]
    assert heads(frames) == [("Request", 2), ("Response", 2)]


def test_a_hole_in_a_body_that_the_close_ends_is_only_a_hole(kernel):
    say(kernel, EGRESS, GET)
    say(kernel, INGRESS, b"HTTP/1.1 200 OK\r\n\r\n")
    kernel.lose(INGRESS, 5)
    frames = say(kernel, INGRESS, b"end") + kernel.batch(closed=(kernel.closed(),))
    assert gaps(frames) == [(1, "response.body", 0, 5)]
    assert [f.size for f in frames if isinstance(f, EndFrame)] == [8]


def test_a_hole_beyond_a_body_is_told_of_it_and_reading_goes_on_at_the_next_message(kernel):
    say(kernel, EGRESS, b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n01")
    kernel.lose(EGRESS, 9)
    frames = say(kernel, EGRESS, b"rest of a lost request")
    assert gaps(frames) == [(1, "request.body", 2, 9)]
    assert [f.bytes for f in frames if isinstance(f, OpaqueFrame)] == [22]
    assert heads(say(kernel, EGRESS, GET)) == [("Request", 2)]
    assert kernel.state.counters["resynchronised"] == 1


def test_a_lost_request_leaves_its_response_alone_and_the_next_exchange_right(kernel):
    say(kernel, EGRESS, GET)
    say(kernel, INGRESS, OK)
    kernel.lose(EGRESS, len(GET))
    assert heads(say(kernel, INGRESS, OK)) == []
    frames = say(kernel, EGRESS, GET) + say(kernel, INGRESS, OK)
    assert heads(frames) == [("Response", 2), ("Request", 3), ("Response", 3)]
    assert gaps(frames) == [(None, "egress", len(GET), len(GET))]


def test_a_lost_response_is_told_of_all_that_wait_and_pairs_with_none(kernel):
    say(kernel, EGRESS, GET)
    kernel.lose(INGRESS, len(OK))
    say(kernel, EGRESS, GET)
    frames = say(kernel, INGRESS, OK)
    assert gaps(frames) == [(1, "response.head", 0, len(OK)), (2, "response.head", 0, len(OK))]
    assert heads(frames) == [("Response", 3)]
    frames = say(kernel, EGRESS, GET) + say(kernel, INGRESS, OK)
    assert heads(frames) == [("Request", 4), ("Response", 4)]


UNPROVEN = [(2, "response.head", 0, 0)]


def test_a_response_to_a_lost_request_pairs_with_no_later_one_that_did_not_wait(kernel):
    """Nothing can have answered what is lost, so the next response is its."""
    say(kernel, EGRESS, GET)
    say(kernel, INGRESS, OK)
    kernel.lose(EGRESS, len(GET))
    say(kernel, EGRESS, GET)
    frames = say(kernel, INGRESS, OK + OK)
    assert (heads(frames), gaps(frames)) == ([], UNPROVEN)
    assert kernel.state.counters["pairings_given_up"] == 1


def test_a_first_request_that_is_lost_is_owed_an_answer_too(kernel):
    kernel.lose(EGRESS, len(GET))
    say(kernel, EGRESS, GET)
    frames = say(kernel, INGRESS, OK)
    assert (heads(frames), gaps(frames)) == ([], [(1, "response.head", 0, 0)])


def test_two_answers_between_two_requests_show_that_some_were_sent_ahead(kernel):
    say(kernel, EGRESS, GET)
    say(kernel, INGRESS, OK)
    kernel.lose(EGRESS, 2 * len(GET))
    assert heads(say(kernel, INGRESS, OK)) == []  # it may be late by a second
    kernel.tick(2)
    say(kernel, EGRESS, GET)
    say(kernel, INGRESS, OK + OK)
    assert heads(say(kernel, EGRESS, GET) + say(kernel, INGRESS, OK)) == []
    assert kernel.state.counters["pairings_given_up"] == 1


def test_a_request_that_comes_after_its_answer_was_given_up_shifts_nothing(kernel):
    """It is late by more than it is waited for."""
    say(kernel, INGRESS, OK)
    assert heads(kernel.tick(1) + kernel.tick(1)) == [("Response", 1)]
    assert heads(say(kernel, EGRESS, GET) + say(kernel, INGRESS, OK)) == []


@pytest.mark.parametrize("pipelines", [False, True])
def test_no_pair_is_wrong_whatever_is_lost(pipelines):
    """Of clients that wait, each exchange that is whole is paired, but for those whose answer is
    the first after a hole. Those that don't are given up as soon as that shows."""
    whole = paired = 0
    for seed in range(100):
        found = lossy(random.Random(seed), pipelines=pipelines)
        assert not found.wrong, seed
        whole, paired = whole + found.whole, paired + found.paired
    assert paired > whole * (0.25 if pipelines else 0.95)


class Lossy(NamedTuple):
    whole: int
    paired: int
    wrong: list[tuple[int, int]]


def lossy(source: random.Random, *, pipelines: bool) -> Lossy:
    """Sixty exchanges, numbered by both ends, of which some are lost in bursts. A client that does
    not wait shows it before anything is lost."""
    kernel = Kernel()
    frames = kernel.batch(opened=(kernel.opened(),))
    lost: set[int] = set()
    burst = 0
    for place, (direction, number, data) in enumerate(conversation(source, pipelines=pipelines)):
        if not burst and place > 8 and source.random() < 0.05:
            burst = source.randint(2, 8)
        burst -= bool(burst)
        start, end = sorted(source.choices(range(len(data) + 1), k=2)) if burst else (0, 0)
        if burst and source.random() < 0.7:
            start, end = 0, len(data)
        if start:
            frames += kernel.batch(kernel.record(direction, data[:start]))
        if start < end:
            lost.add(number)
            kernel.lose(direction, end - start)
        if end < len(data):
            frames += kernel.batch(kernel.record(direction, data[end:]))
        if source.random() < 0.1:
            frames += kernel.tick()
    frames += kernel.batch(closed=(kernel.closed(),))
    assert_exact(kernel.state)
    asked = {f.stream: int((f.path or "")[1:]) for f in frames if isinstance(f, RequestHead)}
    answered = {f.stream: int(f.headers[0][1] or 0) for f in frames if isinstance(f, ResponseHead)}
    pairs = [(asked[stream], answered[stream]) for stream in asked.keys() & answered.keys()]
    wrong = [pair for pair in pairs if pair[0] != pair[1]]
    right = {pair[0] for pair in pairs} - lost
    return Lossy(60 - len(lost), len(right), wrong)


def conversation(
    source: random.Random, *, pipelines: bool
) -> Iterator[tuple[Direction, int, bytes]]:
    answers: list[tuple[Direction, int, bytes]] = []
    for number in range(60):
        yield EGRESS, number, b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number
        body = b"b" * source.randint(0, 50)
        head = b"HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: %d\r\n\r\n"
        answers.append((INGRESS, number, head % (number, len(body)) + body))
        if not pipelines or number == 1 or (number > 1 and source.random() < 0.5):
            yield from answers
            answers = []
    yield from answers


def test_half_a_head_before_a_hole_is_opaque(kernel):
    say(kernel, EGRESS, GET + GET[:10])
    kernel.lose(EGRESS, 3)
    frames = say(kernel, EGRESS, GET)
    assert [f.bytes for f in frames if isinstance(f, OpaqueFrame)] == [10]
    assert heads(frames) == [("Request", 2)]


def test_after_a_loss_where_pipelining_is_proven_nothing_is_paired(kernel):
    say(kernel, EGRESS, GET + GET)
    say(kernel, INGRESS, OK)
    kernel.lose(INGRESS, len(OK))
    frames = say(kernel, EGRESS, GET) + say(kernel, INGRESS, OK)
    assert heads(frames) == [("Request", 3)]
    assert heads(say(kernel, EGRESS, GET) + say(kernel, INGRESS, OK)) == []


def test_a_loss_before_anything_is_known_means_joining_in_the_middle(kernel):
    say(kernel, EGRESS, b"GET /a HT")
    kernel.lose(EGRESS, 4)
    frames = say(kernel, EGRESS, b"rest\r\n\r\n") + say(kernel, EGRESS, GET)
    assert gaps(frames) == [(None, "egress", 9, 4)]
    assert heads(frames) == [("Request", 1)]


def test_a_loss_of_what_is_opaque_is_still_told(kernel):
    say(kernel, EGRESS, b"\x16\x03\x01")
    kernel.lose(EGRESS, 4)
    assert gaps(say(kernel, EGRESS, b"x")) == [(None, "egress", 3, 4)]


def test_a_loss_after_http_has_ended_is_still_told(kernel):
    say(kernel, EGRESS, b"CONNECT a:1 HTTP/1.1\r\n\r\n")
    say(kernel, INGRESS, b"HTTP/1.1 200 OK\r\n\r\n")
    kernel.lose(EGRESS, 4)
    assert gaps(say(kernel, EGRESS, b"x")) == [(None, "egress", 24, 4)]


def test_joined_without_proof_for_long_a_connection_is_opaque_for_good():
    kernel = Kernel()
    kernel.batch(opened=(kernel.opened(joined=True),))
    for _ in range(17):
        say(kernel, EGRESS, b"\x01" * 65536)
    assert heads(say(kernel, EGRESS, GET)) == []
    assert kernel.state.counters["connections_opaque"] == 1


def test_a_response_that_waits_is_bounded(kernel):
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 60_000
    frames = say(kernel, INGRESS, body)
    for _ in range(80):
        frames += say(kernel, INGRESS, b"x" * 60_000)
    assert heads(frames) == [("Response", 1)]
