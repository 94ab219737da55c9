"""What is shown of an exchange: assembles the witness, every part of it redacted.

Knows the witness's shape and its deterministic ids; not why the exchange ended.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from services.collect import bodies, redaction, tracecontext
from services.collect.redaction import Found
from services.collect.state import Connection, Exchange
from services.messages import (
    EndFrame,
    Gap,
    Headers,
    Interim,
    InterimHead,
    Redacted,
    Request,
    RequestHead,
    Response,
    Role,
    Timing,
    Trace,
    Witness,
    WitnessConnection,
    WitnessState,
)

_UNOWNED = ("egress", "ingress")  # parts of a gap that no stream owns
_NANOSECONDS = 1_000_000_000
_U64 = (1 << 64) - 1
_UNKNOWN_PROTOCOL = "unknown"
_NOTHING_REDACTED = Redacted()


class Ended(NamedTuple):
    state: WitnessState
    gaps: tuple[Gap, ...]
    reasons: tuple[str, ...]


class _View(NamedTuple):
    cap: int
    sizes_known: bool
    found: Found

    def meta(self, headers: Headers) -> bodies.Meta:
        return bodies.Meta(headers, self.cap, self.sizes_known)


def build(exchange: Exchange, connection: Connection, ended: Ended, cap: int) -> Witness:
    identity = _identity(exchange)
    found: Found = []
    view = _View(cap, all(gap.part not in _UNOWNED for gap in ended.gaps), found)
    head = exchange.request or exchange.response
    return Witness(
        id=identity,
        part=1,
        final=True,
        protocol=_UNKNOWN_PROTOCOL if head is None else head.protocol,
        role=_role(exchange, connection),
        state=ended.state,
        source=connection.source,
        connection=_connection(exchange, connection),
        request=_request(exchange, view),
        response=_response(exchange, view),
        timing=_timing(exchange),
        redacted=_redacted(found),
        gaps=ended.gaps,
        trace=_trace(identity, exchange.request),
        partial_reasons=ended.reasons,
    )


def _identity(exchange: Exchange) -> str:
    """The connection's id is unique in space and time; the generation tells apart streams whose
    number came again."""
    name = f"{exchange.connection:x}/{exchange.generation}/{exchange.stream}"
    return hashlib.blake2s(name.encode(), digest_size=16).hexdigest()


def _role(exchange: Exchange, connection: Connection) -> Role:
    if connection.role is not None:
        return connection.role
    response = exchange.response
    return "server" if response is not None and response.direction == 0 else "client"


def _connection(exchange: Exchange, connection: Connection) -> WitnessConnection:
    return WitnessConnection(
        id=f"{exchange.connection & _U64:016x}",
        stream=exchange.stream,
        local=connection.local,
        peer=connection.peer,
        mid_connection=connection.mid_connection,
    )


def _request(exchange: Exchange, view: _View) -> Request | None:
    head, end, found = exchange.request, exchange.request_end, view.found
    if head is None:
        return None
    return Request(
        method=head.method,
        scheme=head.scheme,
        authority=redaction.authority(head.authority, found),
        path=redaction.target(head.path, found),
        headers=redaction.headers(head.headers, found),
        trailers=_trailers(end, found),
        body=bodies.show(exchange.request_body, end, view.meta(head.headers), found),
        hpack="partial" if head.hpack_partial else None,
    )


def _response(exchange: Exchange, view: _View) -> Response | None:
    head, end, found = exchange.response, exchange.response_end, view.found
    if head is None:
        return None
    return Response(
        status=head.status,
        headers=redaction.headers(head.headers, found),
        trailers=_trailers(end, found),
        body=bodies.show(exchange.response_body, end, view.meta(head.headers), found),
        interim=tuple(_interim(interim, found) for interim in exchange.interims),
        hpack="partial" if head.hpack_partial else None,
    )


def _interim(head: InterimHead, found: Found) -> Interim:
    return Interim(status=head.status, headers=redaction.headers(head.headers, found))


def _trailers(end: EndFrame | None, found: Found) -> Headers:
    if end is None or not end.trailers:
        return ()
    return redaction.headers(end.trailers, found)


def _redacted(found: Found) -> Redacted:
    if not found:
        return _NOTHING_REDACTED
    return Redacted(count=len(found), rules=tuple(sorted(set(found))))


def _timing(exchange: Exchange) -> Timing:
    request, request_end = exchange.request, exchange.request_end
    response, response_end = exchange.response, exchange.response_end
    latency: float | None = None
    if request_end is not None and response is not None:
        latency = (response.time_ns - request_end.time_ns) / 1_000_000
    return Timing(
        request_start=None if request is None else rfc3339(request.time_ns),
        request_end=None if request_end is None else rfc3339(request_end.time_ns),
        response_start=None if response is None else rfc3339(response.time_ns),
        response_end=None if response_end is None else rfc3339(response_end.time_ns),
        latency_ms=latency,
    )


def rfc3339(time_ns: int) -> str | None:
    """None for a time that no calendar has."""
    seconds, nanoseconds = divmod(time_ns, _NANOSECONDS)
    second = _second(seconds)
    return None if second is None else f"{second}.{nanoseconds:09d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return None


def _trace(identity: str, request: RequestHead | None) -> Trace:
    """The application's own where it sent one, else derived: replays repeat both."""
    span_id = hashlib.blake2s(identity.encode(), digest_size=8).hexdigest()
    parent = None if request is None else tracecontext.parent(request.headers)
    if parent is None:
        return Trace(trace_id=identity, span_id=span_id)
    return Trace(
        trace_id=parent.trace_id,
        span_id=span_id,
        parent_span_id=parent.span_id,
        sampled=parent.sampled,
    )
