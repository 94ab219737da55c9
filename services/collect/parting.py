"""Exchanges that come out in parts: which do, when a part does, and what it leaves.

WebSockets, calls of gRPC with more than one message a side, bodies of a kind that streams once they
reach the cap, and whatever is still open 5 s after its response head. Time is the node's, of ticks
and frames. Knows when; what a part shows is `witnesses`'.
"""

from __future__ import annotations

from services.collect import bodies, ending, redaction_streams, witnesses
from services.collect.ending import Cause
from services.collect.fold import Fold
from services.collect.state import BodySoFar, Exchange, Parts
from services.messages import BodyFrame, GrpcFrame, WebSocketFrame

_STREAMING = frozenset({
    "text/event-stream", "application/x-ndjson", "application/stream+json",
    "application/json-seq", "multipart/x-mixed-replace",
})  # fmt: skip


def begin(fold: Fold, number: int, since_ns: int) -> Parts:
    """From now on, if not before, it comes in parts."""
    state = fold.state
    exchange = state.exchanges[number]
    if exchange.parts is not None:
        return exchange.parts
    if len(state.streams) >= state.limits.streams:
        idlest = min(state.streams, key=lambda n: (state.exchanges[n].last_ns, n))
        state.count("streams_evicted")
        ending.finish(fold, idlest, Cause.LIMIT)
    state.answered.pop(number, None)
    state.streams[number] = None
    state.count("streams_begun")
    exchange.parts = Parts(since_ns=since_ns)
    return exchange.parts


def advance(fold: Fold, node: str, now_ns: int) -> None:
    """What is due by a node's time. A stream that is silent says no more than that it is there."""
    state = fold.state
    due_since = now_ns - state.limits.part_ns
    lasting = [n for n in state.answered if _lasts(state.exchanges[n], due_since)]
    for number in sorted(lasting):
        exchange = state.exchanges.get(number)
        if exchange is not None and _lives_on(fold, exchange, node):
            begin(fold, number, _answered_ns(exchange))
    for number in sorted(state.streams):
        parts = state.exchanges[number].parts
        assert parts is not None, "it is one of the streams"
        due = parts.since_ns <= due_since and (parts.news or not parts.given)
        if due and _lives_on(fold, state.exchanges[number], node):
            give(fold, number, now_ns)


def _lasts(exchange: Exchange, since_ns: int) -> bool:
    """More of it is to come than the request of an answer that is there."""
    if _answered_ns(exchange) > since_ns:
        return False
    asks = exchange.request is not None and exchange.request_end is None
    return asks or exchange.response_end is None


def _answered_ns(exchange: Exchange) -> int:
    return 0 if exchange.response is None else exchange.response.time_ns


def _lives_on(fold: Fold, exchange: Exchange, node: str) -> bool:
    return fold.state.connections[exchange.connection].node == node


def give(fold: Fold, number: int, now_ns: int | None = None) -> None:
    """The next part, of what there is now."""
    state = fold.state
    exchange = state.exchanges[number]
    parts = exchange.parts
    assert parts is not None, "it comes in parts"
    state.count("parts_given")
    before = exchange.size()
    told = ending.open_part(exchange)
    connection = state.connections[exchange.connection]
    fold.witnesses.append(witnesses.build(exchange, connection, told, state.limits))
    if exchange.gaps and not parts.lost:
        parts.lost = exchange.gaps[0].reason
    parts.close = parts.close or _close(exchange)
    parts.given, parts.news = parts.given + 1, False
    parts.since_ns = parts.since_ns if now_ns is None else now_ns
    exchange.gaps, exchange.messages, exchange.message_bytes = [], [], 0
    state.buffered += exchange.size() - before
    state.touched.add(exchange.connection)


def _close(exchange: Exchange) -> WebSocketFrame | None:
    return next(
        (m for m in exchange.messages if type(m) is WebSocketFrame and m.kind == "close"), None
    )


# --- bodies ---------------------------------------------------------------------------------------


def streams(fold: Fold, exchange: Exchange, frame: BodyFrame) -> bool:
    """Whether a body that has more than the cap comes in parts: one of a kind that never ends, or
    one that lasts, which parse passes on again."""
    head = exchange.request if frame.side == "request" else exchange.response
    if head is None:
        return False
    if exchange.response is not None:
        lasts = frame.time_ns - exchange.response.time_ns >= fold.state.limits.part_ns
        if lasts:
            return True
    media = bodies.header(head.headers, "content-type").partition(";")[0].strip().lower()
    return media in _STREAMING


def receive(fold: Fold, number: int, body: BodySoFar, frame: BodyFrame) -> None:
    """Cuts at the cap, wherever frames are cut. `body` has no hole before this frame."""
    parts = begin(fold, number, frame.time_ns)
    cap = fold.state.limits.body_bytes
    data = b"" if _is_dark(body) else frame.data
    if data and body.stopped is not None:
        give(fold, number, frame.time_ns)
    if frame.offset != body.reached:
        data = b""
    data = _from_where_it_may_be_shown(fold, body, frame.offset, data)
    parts.news = True
    end = frame.offset + frame.size
    position = body.offset + body.kept
    while data and cap:
        piece, data = data[: cap - body.kept], data[cap - body.kept :]
        body.chunks.append(piece)
        body.kept += len(piece)
        fold.state.buffered += len(piece)
        position += len(piece)
        body.reached = position
        if body.kept >= cap:
            give(fold, number, frame.time_ns)
    if position < end:
        body.stopped = body.stopped or "cap"
    body.reached = max(body.reached, end)


def _is_dark(body: BodySoFar) -> bool:
    """Nothing of it can be shown any more."""
    carry = body.carry
    if carry is None:
        return False
    unpacking = carry.unpacking
    return (unpacking is not None and unpacking.lost is not None) or (
        carry.veil.blind and carry.veil.kind == "form"
    )


def _from_where_it_may_be_shown(fold: Fold, body: BodySoFar, offset: int, data: bytes) -> bytes:
    """Behind a hole a secret may go on; the next part begins where no value can."""
    if body.carry is None or not body.carry.veil.blind or not data:
        return data
    begins = redaction_streams.resume(body.carry.veil, data)
    skipped = len(data) if begins is None else begins
    fold.state.count("stream_bytes_not_shown", skipped)
    body.offset = body.reached = offset + skipped
    return data[skipped:]


# --- messages -------------------------------------------------------------------------------------


def receive_message(fold: Fold, number: int, frame: GrpcFrame | WebSocketFrame) -> None:
    """One that finds no room in this part is the next one's first."""
    state = fold.state
    exchange, cap = state.exchanges[number], state.limits.body_bytes
    if type(frame) is WebSocketFrame or (type(frame) is GrpcFrame and frame.index):
        begin(fold, number, frame.time_ns)
    parts, size = exchange.parts, min(len(frame.data), cap)
    if parts is not None:
        full = len(exchange.messages) >= state.limits.part_messages
        if full:
            state.count("parts_full")
        if full or (exchange.messages and exchange.message_bytes + size > cap):
            give(fold, number, frame.time_ns)
        parts.news = True
    exchange.messages.append(frame)
    exchange.message_bytes += len(frame.data)
    state.buffered += len(frame.data)
