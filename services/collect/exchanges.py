"""The open exchanges of a shard: found, begun, and told what they miss.

Knows which stream numbers may still begin one; not what completes or ends it.
"""

from __future__ import annotations

from services.collect import connections, ending, parting
from services.collect.fold import Fold
from services.collect.state import BodySoFar, Connection, Exchange, ShardState
from services.messages import Gap, GapFrame, InterimHead, RequestHead, ResponseHead, Side


def opened(state: ShardState, connection: Connection, stream: int) -> Exchange | None:
    number = connection.streams.get(stream)
    return None if number is None else state.exchanges[number]


def begin(
    fold: Fold, connection: Connection, frame: RequestHead | ResponseHead | InterimHead | GapFrame
) -> Exchange:
    state, stream = fold.state, frame.stream
    assert stream is not None, "a frame without a stream begins no exchange"
    if len(connection.streams) >= state.limits.exchanges_of_connection:
        ending.evict(fold, next(iter(connection.streams.values())))
    elif len(state.exchanges) >= state.limits.exchanges:
        ending.evict(fold, next(iter(state.exchanges)))
    exchange = Exchange(frame.connection, stream, connection.generation, frame.time_ns)
    state.begun += 1
    state.exchanges[state.begun] = exchange
    connection.streams[stream] = state.begun
    return exchange


def expected(fold: Fold, frame: ResponseHead | InterimHead | GapFrame) -> Exchange | None:
    """The open exchange, or a new one where its request may still be under way."""
    connection = connections.of(fold, frame.connection)
    stream = frame.stream
    assert stream is not None, "a frame without a stream expects no exchange"
    exchange = opened(fold.state, connection, stream)
    if exchange is not None:
        return exchange
    if stream <= connection.highest[stream & 1] or stream in connection.unrequested:
        fold.state.count("frames_late")
        return None
    connection.headless += 1
    return begin(fold, connection, frame)


def known(fold: Fold, connection_id: int, stream: int) -> Exchange | None:
    """None for what comes after an exchange's end: a reset, a limit, a timeout."""
    connection = fold.state.connections.get(connection_id)
    if connection is not None:
        exchange = opened(fold.state, connection, stream)
        if exchange is not None:
            return exchange
    fold.state.count("frames_late")
    return None


def relieve(fold: Fold) -> None:
    """What is buffered goes back within its limit: streams give out what they have, which loses
    nothing, and then the oldest exchanges give way."""
    state = fold.state
    for number in sorted(state.streams):
        if state.buffered <= state.limits.buffered_bytes:
            return
        parting.give(fold, number)
    while state.buffered > state.limits.buffered_bytes and state.exchanges:
        ending.evict(fold, next(iter(state.exchanges)))


def body_of(exchange: Exchange, side: Side) -> BodySoFar:
    body = exchange.request_body if side == "request" else exchange.response_body
    if body is None:
        body = BodySoFar()
        if side == "request":
            exchange.request_body = body
        else:
            exchange.response_body = body
    return body


def miss(fold: Fold, exchange: Exchange, gap: Gap) -> None:
    """What is shown of a body ends at its first gap: nothing joins bytes from both its sides."""
    if len(exchange.gaps) < fold.state.limits.gaps_of_exchange:
        exchange.gaps.append(gap)
    else:
        fold.state.count("gaps_untold")
    if exchange.parts is not None:
        exchange.parts.news = True
    if exchange.response is not None and exchange.response.upgraded:
        return  # it has messages, no body
    if gap.part == "request.body":
        _skip(body_of(exchange, "request"), gap)
    elif gap.part == "response.body":
        _skip(body_of(exchange, "response"), gap)


def _skip(body: BodySoFar, gap: Gap) -> None:
    if body.stopped is None:
        body.stopped = "gap"
    body.reached = max(body.reached, gap.offset + gap.bytes)
