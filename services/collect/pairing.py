"""Pairs requests with responses by (connection, stream), in either order of arrival.

Knows what each frame means for an exchange and when both its sides are there. How one ends and
what it is then called is `ending`'s; what is shown of it is `witnesses`'. Time comes from frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.collect import connections, ending, exchanges, ordering, parting
from services.collect.ending import Cause
from services.collect.fold import Fold
from services.collect.state import BodySoFar, Connection, Exchange, ShardState
from services.messages import (
    BodyFrame,
    CloseFrame,
    Direction,
    EndFrame,
    FrameBatch,
    Gap,
    GapFrame,
    GrpcFrame,
    InterimHead,
    MalformedFrame,
    OpaqueFrame,
    OpenFrame,
    RequestHead,
    ResetFrame,
    ResponseHead,
    TickFrame,
    WebSocketFrame,
    Witness,
)

SWITCHING_PROTOCOLS = 101


def receive(state: ShardState, batch: FrameBatch, behind: int = 0) -> list[Witness]:
    """The witnesses of this batch and of those that waited for it; none of one that was folded
    before. Of the `behind` batches before it any may still be on its way."""
    found: list[Witness] = []
    for next_one in ordering.in_order(state, batch, behind):
        found += _fold(state, next_one)
    return found


def _fold(state: ShardState, batch: FrameBatch) -> list[Witness]:
    fold = connections.begin_fold(state, batch)
    if fold is None:
        return []
    touched = state.touched
    for frame in batch.frames:
        touched.add(frame.connection)
        _HANDLERS[type(frame)](fold, frame)
    return fold.witnesses


def interrupt(state: ShardState, reason: str) -> list[Witness]:
    """The stream of frames was made anew: nobody knows what of the open exchanges went with it.
    One that expired or was purged shows by its counters, and frames that follow show their holes.
    """
    if reason != "bus_restart":
        state.interruption = reason
        return []
    state.count("stream_bus_restart")
    found = [witness for batch in ordering.release(state) for witness in _fold(state, batch)]
    fold = Fold(state, "", 0)
    for number in tuple(state.exchanges):
        ending.finish(fold, number, Cause.BUS_RESTART)
    return found + fold.witnesses


def _on_request(fold: Fold, frame: RequestHead) -> None:
    connection = connections.of(fold, frame.connection)
    exchange = _requested(fold, connection, frame)
    if exchange is None:
        return
    exchange.request = frame
    exchange.last_ns = frame.time_ns
    parity = frame.stream & 1
    connection.highest[parity] = max(frame.stream, connection.highest[parity])
    if connection.role is None:
        connection.role = "client" if frame.direction == Direction.EGRESS else "server"
    if connection.headless:
        ending.give_up_requests(fold, connection)


def _requested(fold: Fold, connection: Connection, frame: RequestHead) -> Exchange | None:
    """The exchange that this request begins, or that its response has begun."""
    stream = frame.stream
    exchange = exchanges.opened(fold.state, connection, stream)
    if exchange is not None and exchange.request is None:
        connection.headless -= 1
        return exchange
    if exchange is not None:
        ending.finish(fold, connection.streams[stream], Cause.STREAM_REUSED)
    if stream <= connection.highest[stream & 1]:
        connections.renumber(connection)
    elif stream in connection.unrequested:
        fold.state.count("frames_late")
        return None
    return exchanges.begin(fold, connection, frame)


def _on_response(fold: Fold, frame: ResponseHead) -> None:
    exchange = exchanges.expected(fold, frame)
    if exchange is None:
        return
    if exchange.response is not None:
        fold.state.count("frames_late")
        return
    exchange.response = frame
    exchange.last_ns = frame.time_ns
    connection = fold.state.connections[frame.connection]
    _answer(fold, connection.streams[frame.stream], frame)
    if frame.protocol != "http/2":
        ending.give_up_responses(fold, connection, frame.stream)


def _answer(fold: Fold, number: int, head: ResponseHead) -> None:
    if head.upgraded == "websocket":
        parting.begin(fold, number, head.time_ns)
    else:
        fold.state.answered[number] = None


def _on_interim(fold: Fold, frame: InterimHead) -> None:
    exchange = exchanges.expected(fold, frame)
    if exchange is None:
        return
    exchange.last_ns = frame.time_ns
    if frame.status == SWITCHING_PROTOCOLS:
        _switch(fold, exchange, frame)
    elif len(exchange.interims) < fold.state.limits.interims_of_exchange:
        exchange.interims.append(frame)
    else:
        fold.state.count("interims_dropped")


def _switch(fold: Fold, exchange: Exchange, frame: InterimHead) -> None:
    """101 is the last that HTTP/1.1 says on this connection (RFC 9110 §15.2.2): a response."""
    request = exchange.request
    travelled = Direction.EGRESS if request is None else request.direction
    head = exchange.response = ResponseHead(
        connection=frame.connection,
        time_ns=frame.time_ns,
        stream=frame.stream,
        protocol="http/1.1",
        direction=Direction(1 - travelled),
        status=frame.status,
        headers=frame.headers,
        upgraded=frame.upgraded,
    )
    _answer(fold, fold.state.connections[frame.connection].streams[frame.stream], head)


def _on_body(fold: Fold, frame: BodyFrame) -> None:
    exchange = exchanges.known(fold, frame.connection, frame.stream)
    if exchange is None:
        return
    exchange.last_ns = frame.time_ns
    body = exchanges.body_of(exchange, frame.side)
    if frame.offset > body.reached:
        hole = frame.offset - body.reached
        exchanges.miss(fold, exchange, Gap(
            part=f"{frame.side}.body", offset=body.reached, bytes=hole, reason="frames_lost",
        ))  # fmt: skip
    state, kept, size = fold.state, body.kept, len(frame.data)
    if (
        exchange.parts is None
        and body.stopped is None
        and kept == frame.offset == body.reached
        and 0 < size == frame.size
        and kept + size <= state.limits.body_bytes
    ):
        body.chunks.append(frame.data)
        body.kept = body.reached = kept + size
        state.buffered += size
    else:
        _on_rest(fold, exchange, body, frame)
    if state.buffered > state.limits.buffered_bytes:
        exchanges.relieve(fold)


def _on_rest(fold: Fold, exchange: Exchange, body: BodySoFar, frame: BodyFrame) -> None:
    """Of a body that comes in parts, is over the cap, or has a hole."""
    over = body.stopped == "cap" or body.kept + len(frame.data) > fold.state.limits.body_bytes
    over = over and bool(frame.data)
    if exchange.parts is not None or (over and parting.streams(fold, exchange, frame)):
        number = fold.state.connections[frame.connection].streams[frame.stream]
        parting.receive(fold, number, body, frame)
        return
    if body.stopped is None and frame.offset == body.kept:
        _keep(fold.state, body, frame)
    body.reached = max(body.reached, frame.offset + frame.size)


def _keep(state: ShardState, body: BodySoFar, frame: BodyFrame) -> None:
    data = frame.data[: state.limits.body_bytes - body.kept]
    if data:
        body.chunks.append(data)
        body.kept += len(data)
        state.buffered += len(data)
    if body.kept < frame.offset + frame.size:
        body.stopped = "cap"


def _on_message(fold: Fold, frame: GrpcFrame | WebSocketFrame) -> None:
    exchange = exchanges.known(fold, frame.connection, frame.stream)
    if exchange is None:
        return
    exchange.last_ns = frame.time_ns
    number = fold.state.connections[frame.connection].streams[frame.stream]
    parting.receive_message(fold, number, frame)
    if fold.state.buffered > fold.state.limits.buffered_bytes:
        exchanges.relieve(fold)


def _on_end(fold: Fold, frame: EndFrame) -> None:
    exchange = exchanges.known(fold, frame.connection, frame.stream)
    if exchange is None:
        return
    exchange.last_ns = frame.time_ns
    body = exchange.request_body if frame.side == "request" else exchange.response_body
    reached = 0 if body is None else body.reached
    if frame.size > reached:
        exchanges.miss(fold, exchange, Gap(
            part=f"{frame.side}.body", offset=reached, bytes=frame.size - reached,
            reason="frames_lost",
        ))  # fmt: skip
    if frame.side == "request":
        exchange.request_end = frame
    else:
        exchange.response_end = frame
    connection = fold.state.connections[frame.connection]
    if exchange.response_end is None:
        return
    if exchange.request_end is not None:
        ending.finish(fold, connection.streams[frame.stream], Cause.BOTH_SIDES)
    elif ending.is_overtaken(connection, exchange):
        ending.finish(fold, connection.streams[frame.stream], Cause.OVERTAKEN)


def _on_reset(fold: Fold, frame: ResetFrame) -> None:
    connection = fold.state.connections.get(frame.connection)
    number = None if connection is None else connection.streams.get(frame.stream)
    if number is None:
        fold.state.count("frames_late")
    else:
        fold.state.exchanges[number].last_ns = frame.time_ns
        ending.reset(fold, number, frame.code)


def _on_gap(fold: Fold, frame: GapFrame) -> None:
    gap = Gap(part=frame.part, offset=frame.offset, bytes=frame.bytes, reason=frame.reason)
    if frame.stream is None:
        connection = connections.of(fold, frame.connection)
        connections.note_gap(fold.state, connection, gap)
        return
    exchange = exchanges.expected(fold, frame)
    if exchange is not None:
        exchange.last_ns = frame.time_ns
        exchanges.miss(fold, exchange, gap)


def _on_malformed(fold: Fold, frame: MalformedFrame) -> None:
    connection = fold.state.connections.get(frame.connection)
    if connection is None or not frame.bytes:  # an anomaly breaks nothing
        return
    if frame.stream is None:
        connection.malformed = True
        return
    exchange = exchanges.opened(fold.state, connection, frame.stream)
    if exchange is not None:
        exchange.malformed = True


def _on_opaque(fold: Fold, frame: OpaqueFrame) -> None:
    """Counted by parse; no exchange owns it."""


_HANDLERS: dict[type, Callable[[Fold, Any], None]] = {
    OpenFrame: connections.name,
    RequestHead: _on_request,
    ResponseHead: _on_response,
    InterimHead: _on_interim,
    BodyFrame: _on_body,
    GrpcFrame: _on_message,
    WebSocketFrame: _on_message,
    EndFrame: _on_end,
    ResetFrame: _on_reset,
    GapFrame: _on_gap,
    MalformedFrame: _on_malformed,
    OpaqueFrame: _on_opaque,
    CloseFrame: connections.close,
    TickFrame: connections.advance,
}
