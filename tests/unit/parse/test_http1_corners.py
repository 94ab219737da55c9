"""Corners of HTTP/1: answers without requests, ends that prove nothing, proofs after a loss."""

from __future__ import annotations

import pytest

from services.messages import (
    BodyFrame,
    EndFrame,
    MalformedFrame,
    OpaqueFrame,
    RequestHead,
    ResponseHead,
)
from tests.support.wire import EGRESS, INGRESS, Kernel, assert_exact, deliver

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEADLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"


def ends(frames: list[object]) -> list[tuple[int, str, int]]:
    return [(f.stream, f.side, f.size) for f in frames if isinstance(f, EndFrame)]


@pytest.mark.parametrize("head", [
    HEADLESS,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
], ids=["length", "chunked", "until close"])  # fmt: skip
@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_the_answer_to_a_head_before_our_time_swallows_nothing(head, cut):
    """Its length is that of a body that is not sent: the next head tells so."""
    kernel = Kernel()
    frames = kernel.batch(opened=(kernel.opened(joined=True),))
    frames += kernel.batch(kernel.record(INGRESS, head))
    for at in range(0, len(OK), cut):
        frames += kernel.batch(kernel.record(INGRESS, OK[at : at + cut]))
    assert ends(frames) == [(1, "response", 0), (2, "response", 2)]
    assert_exact(kernel.state)


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_an_answer_before_our_time_that_has_a_body_keeps_it(cut):
    kernel = Kernel()
    body = b"HTTP is a protocol"
    frames = kernel.batch(opened=(kernel.opened(joined=True),))
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    frames += kernel.batch(kernel.record(INGRESS, sent))
    for at in range(0, len(body), cut):
        frames += kernel.batch(kernel.record(INGRESS, body[at : at + cut]))
    assert b"".join(f.data for f in frames if isinstance(f, BodyFrame)) == body
    assert ends(frames) == [(1, "response", len(body))]


@pytest.mark.parametrize(("reason", "whole"), [("freed", True), ("exited", False)])
def test_a_killed_programs_body_is_not_called_whole(reason, whole):
    """Without a length the close ends a body, but that of a process may come from a kill."""
    kernel = Kernel()
    frames = kernel.batch(kernel.record(EGRESS, GET % 1), opened=(kernel.opened(),))
    frames += kernel.batch(kernel.record(INGRESS, b"HTTP/1.1 200 OK\r\n\r\nhalf of"))
    frames += kernel.batch(closed=(kernel.closed(reason=reason),))
    assert ((1, "response", 7) in ends(frames)) == whole


def test_an_answer_to_nothing_is_an_exchange_of_its_own():
    """A server's 408 to a connection that it found idle."""
    timeout = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    frames = deliver([(INGRESS, timeout)])
    (head,) = [f for f in frames if isinstance(f, ResponseHead)]
    assert (head.status, head.stream) == (408, 1)
    assert ends(frames) == [(1, "response", 0)]


def lost_within_a_body() -> Kernel:
    kernel = Kernel()
    head = b"POST / HTTP/1.1\r\nContent-Length: 500\r\n\r\n"
    kernel.batch(kernel.record(EGRESS, head + b"a" * 100), opened=(kernel.opened(),))
    kernel.lose(EGRESS, 600)
    return kernel


def test_after_a_loss_a_whole_head_at_a_records_start_is_believed():
    kernel = lost_within_a_body()
    frames = kernel.batch(kernel.record(EGRESS, b"rest of a body\r\n" + GET % 2))
    frames += kernel.batch(kernel.record(EGRESS, GET % 3))
    assert [f.path for f in frames if isinstance(f, RequestHead)] == ["/3"]
    assert kernel.state.counters["resynchronised"] == 1
    assert_exact(kernel.state)


def test_after_a_loss_what_only_begins_like_a_head_is_not_believed():
    kernel = lost_within_a_body()
    log = b"GET /quoted HTTP/1.1\r\nthis is a line of an uploaded log\r\n\r\n"
    frames = kernel.batch(kernel.record(EGRESS, log))
    frames += kernel.batch(kernel.record(EGRESS, GET % 3))
    assert [f.path for f in frames if isinstance(f, RequestHead)] == ["/3"]
    assert not [f for f in frames if isinstance(f, MalformedFrame)]
    assert {f.protocol for f in frames if isinstance(f, OpaqueFrame)} == {"unknown"}
    assert_exact(kernel.state)


def test_a_body_that_lasts_is_kept_in_parts_and_counted_between_them():
    kernel = Kernel()
    kernel.batch(kernel.record(EGRESS, GET % 1), opened=(kernel.opened(),))
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    frames = kernel.batch(kernel.record(INGRESS, head + b"a" * 100_000))
    frames += kernel.batch(kernel.record(INGRESS, b"b" * 100_000))
    kernel.now += 6 * 10**9
    frames += kernel.batch(kernel.record(INGRESS, b"c" * 100_000))
    bodies = [(f.offset, f.size, len(f.data)) for f in frames if isinstance(f, BodyFrame)]
    assert bodies == [(0, 100_000, 65536), (100_000, 100_000, 0), (200_000, 100_000, 65536)]


def test_an_event_stream_is_passed_on_whole():
    kernel = Kernel()
    kernel.batch(kernel.record(EGRESS, GET % 1), opened=(kernel.opened(),))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
    kernel.batch(kernel.record(INGRESS, head))
    passed = 0
    for _ in range(50):
        frames = kernel.batch(kernel.record(INGRESS, b"data: " + b"x" * 8000 + b"\n\n"))
        passed += sum(len(f.data) for f in frames if isinstance(f, BodyFrame))
    assert passed == 50 * 8008
