"""How an exchange ends: with which state, for which reasons, and in which sum of the ledger.

Knows what makes an exchange complete or not; what is shown of it is `witnesses`'.
"""

from __future__ import annotations

from enum import StrEnum

from services.collect import witnesses
from services.collect.fold import Fold
from services.collect.state import Connection, Exchange, ShardState
from services.messages import Gap, WitnessState


class Cause(StrEnum):
    BOTH_SIDES = "both_sides"
    ANSWERED = "answered"  # the answer is whole, and the rest of the request was not wanted
    RESET = "reset"
    CONNECTION_CLOSED = "connection_closed"
    PROCESS_EXITED = "process_exited"
    CONNECTION_EVICTED = "connection_evicted"
    CAPTURE_RESTART = "capture_restart"
    CAPTURE_ENDED = "capture_ended"
    STREAM_REUSED = "stream_reused"
    OVERTAKEN = "overtaken"
    TIMEOUT = "timeout"
    LIMIT = "limit"
    NODE_SILENT = "node_silent"
    BUS_RESTART = "bus_restart"


# After these nobody can say that the peer did not answer: what it sent may be what is missing.
_NOT_THE_PEERS = frozenset(
    {
        Cause.CONNECTION_EVICTED,
        Cause.CAPTURE_RESTART,
        Cause.STREAM_REUSED,
        Cause.LIMIT,
        Cause.NODE_SILENT,
        Cause.BUS_RESTART,
    }
)

# RFC 9113 §7
_RESET_CODES = (
    "no_error", "protocol_error", "internal_error", "flow_control_error", "settings_timeout",
    "stream_closed", "frame_size_error", "refused_stream", "cancel", "compression_error",
    "connect_error", "enhance_your_calm", "inadequate_security", "http_1_1_required",
)  # fmt: skip


# What these codes say is only that no more is needed (RFC 9113 §7, §8.1).
_NOT_NEEDED = frozenset({0, 8})


def reset(fold: Fold, number: int, code: int) -> None:
    """A server may answer before it has the whole request, and either side may then end the stream
    without an error (RFC 9113 §8.1). With any other code something went wrong, and a response whose
    end was not seen is not whole."""
    exchange = fold.state.exchanges[number]
    answered = exchange.response is not None and exchange.response_end is not None
    cause = Cause.ANSWERED if answered and code in _NOT_NEEDED else Cause.RESET
    known = 0 <= code < len(_RESET_CODES)
    finish(fold, number, cause, f"rst_{_RESET_CODES[code]}" if known else "rst_unknown")


def finish(fold: Fold, number: int, cause: Cause, detail: str = "") -> None:
    state = fold.state
    exchange = state.exchanges.pop(number)
    state.touched.add(exchange.connection)
    connection = state.connections[exchange.connection]
    del connection.streams[exchange.stream]
    if exchange.request is None:
        connection.headless -= 1
        _remember(state, connection, exchange.stream)
    state.buffered -= exchange.size()
    state.answered.pop(number, None)
    state.streams.pop(number, None)
    gaps = _gaps(connection, exchange, number, cause)
    called = _state(exchange, gaps, cause)
    reasons = _reasons(exchange, connection, cause, detail)
    if called == "complete":
        state.complete += 1
    else:
        reason = _ledger_reason(exchange, called, gaps, reasons)
        state.partial[reason] = state.partial.get(reason, 0) + 1
    ended = witnesses.Ended(called, gaps, reasons)
    fold.witnesses.append(witnesses.build(exchange, connection, ended, state.limits))


def open_part(exchange: Exchange) -> witnesses.Ended:
    """What a part of a stream that lives on is called."""
    reasons = ("malformed",) if exchange.malformed else ()
    return witnesses.Ended("open", tuple(exchange.gaps), reasons, final=False)


def _remember(state: ShardState, connection: Connection, stream: int) -> None:
    connection.unrequested.append(stream)
    if len(connection.unrequested) > state.limits.remembered:
        del connection.unrequested[0]
        state.count("unrequested_streams_forgotten")


def _gaps(connection: Connection, exchange: Exchange, number: int, cause: Cause) -> tuple[Gap, ...]:
    """Its own; where it is incomplete also those that no stream owns, and that may be its."""
    if cause == Cause.BOTH_SIDES or not connection.gaps:
        return tuple(exchange.gaps)
    headless = exchange.request is None
    since = (
        gap
        for gap, begun in zip(connection.gaps, connection.gaps_since, strict=True)
        if headless or begun >= number
    )
    return (*exchange.gaps, *since)


def _state(exchange: Exchange, gaps: tuple[Gap, ...], cause: Cause) -> WitnessState:
    if cause == Cause.RESET:
        return "reset"
    lost = gaps or (exchange.parts is not None and exchange.parts.lost)
    if lost or exchange.malformed or cause in _NOT_THE_PEERS:
        return "partial"
    if exchange.request is None:
        return "no_request"
    if exchange.response is None:
        return "no_response"
    return "complete" if cause in (Cause.BOTH_SIDES, Cause.ANSWERED) else "partial"


def _reasons(
    exchange: Exchange, connection: Connection, cause: Cause, detail: str
) -> tuple[str, ...]:
    malformed = exchange.malformed or (connection.malformed and cause != Cause.BOTH_SIDES)
    told = () if cause == Cause.BOTH_SIDES else (detail or cause.value,)
    if exchange.parts is not None and exchange.parts.lost:
        told = (*told, exchange.parts.lost)
    return (*told, "malformed") if malformed else told


def _ledger_reason(
    exchange: Exchange, called: WitnessState, gaps: tuple[Gap, ...], reasons: tuple[str, ...]
) -> str:
    if called != "partial":
        return called
    if exchange.parts is not None and exchange.parts.lost:
        return exchange.parts.lost
    return gaps[0].reason if gaps else reasons[0]


def evict(fold: Fold, number: int) -> None:
    fold.state.count("exchanges_evicted")
    finish(fold, number, Cause.LIMIT)


def give_up_requests(fold: Fold, connection: Connection) -> None:
    """Requests come in the order of their streams: those of older ones are lost."""
    for number in tuple(connection.streams.values()):
        exchange = fold.state.exchanges[number]
        if exchange.response_end is not None and is_overtaken(connection, exchange):
            finish(fold, number, Cause.OVERTAKEN)


def is_overtaken(connection: Connection, exchange: Exchange) -> bool:
    """Whether a newer request has come, so that its own is not under way any more."""
    if exchange.request is not None:
        return False
    response, highest = exchange.response, connection.highest
    one_order = response is not None and response.protocol != "http/2"
    newest = max(highest) if one_order else highest[exchange.stream & 1]
    return exchange.stream < newest


def give_up_responses(fold: Fold, connection: Connection, arrived: int) -> None:
    """HTTP/1.1 answers in order: an older request that has no whole response never gets one."""
    for stream, number in tuple(connection.streams.items()):
        if stream >= arrived:
            return
        exchange = fold.state.exchanges[number]
        if exchange.request_end is not None and exchange.response_end is None:
            finish(fold, number, Cause.OVERTAKEN)
