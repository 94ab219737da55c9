"""Which request of HTTP/1.1 a response answers after a loss: what is proven, and when nothing is.

A client is taken for one that waits for each answer before it asks again until it shows otherwise.
From then on nothing tells how many requests or answers a hole took with it, so nothing is paired
any more on that connection. Knows order and holes; knows no syntax.
"""

from __future__ import annotations

from services.messages import Direction, GapFrame
from services.parse.emission import Emission
from services.parse.http1_state import Half, Http1, Phase

_UNPROVEN = "pairing_unproven"


def joined(http: Http1, begins_lost: list[Direction]) -> None:
    """In the middle; or from the beginning, which is lost."""
    http.order.holed = True
    http.order.missing = http.request.direction in begins_lost
    http.order.torn = http.response.direction in begins_lost


def request_lost(http: Http1) -> None:
    """A hole among requests. Between messages it surely begins with one."""
    order = http.order
    order.holed = True
    order.missing = order.missing or http.request.phase in (Phase.HEAD, Phase.HELD)


def response_lost(http: Http1) -> None:
    """A hole among responses may hold the answers of requests that are missing."""
    http.order.torn, http.order.owed = True, False


def has_ended(http: Http1, half: Half, out: Emission) -> bool:
    """With the head at hand nothing can be paired any more: it shows that the client does not wait
    for its answers, or more requests wait than are remembered."""
    order = http.order
    if half is http.response:
        over = order.owed and bool(http.waiting)
    elif len(http.waiting) >= out.limits.waiting:
        out.count("requests_without_response_dropped")
        over = True
    else:
        over = bool(order.orphans) and not order.holed and _more_than_one_answer(http)
    if over:
        give_up(http, out)
    return over


def _more_than_one_answer(http: Http1) -> bool:
    """Since the last request's head, which has one at most."""
    return http.order.answers > bool(http.request.stream)


def requested(http: Http1) -> None:
    """A request has come. One that is missing before it, and that nothing can have answered, is
    owed an answer still: if that is what comes next, the client did not wait for it."""
    order = http.order
    if order.holed or order.orphans or order.torn:
        order.owed = order.missing and not order.torn and not _more_than_one_answer(http)
        order.holed = order.missing = order.torn = False
        order.orphans = 0
    order.answers = 0


def answered(http: Http1) -> None:
    """By a final response."""
    http.order.answers += 1


def orphaned(http: Http1) -> None:
    """A response has come whose request is not there."""
    http.order.orphans += 1


def give_up(http: Http1, out: Emission) -> None:
    """No pairing can be proven any more on this connection."""
    out.count("pairings_given_up")
    for request in http.waiting:
        out.emit(
            GapFrame(
                connection=out.connection, time_ns=out.time_ns, stream=request.stream,
                part="response.head", offset=0, bytes=0, reason=_UNPROVEN,
            )
        )  # fmt: skip
    http.waiting.clear()
    for half in (http.request, http.response):
        half.phase, half.protocol = Phase.OPAQUE, "unknown"
        out.skip(half.direction, "unknown", len(half.buffer))
        half.buffer = b""
