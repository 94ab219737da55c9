"""What is shown of an exchange: assembles the witness, every part of it redacted.

Knows the witness's shape and its deterministic ids; not why the exchange ended.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from services.collect import bodies, conversations, redaction, tracecontext
from services.collect.redaction import Found
from services.collect.state import BodySoFar, Connection, Exchange, Limits
from services.collect.timestamps import rfc3339
from services.messages import (
    Body,
    EndFrame,
    Gap,
    Headers,
    Interim,
    InterimHead,
    Redacted,
    Request,
    RequestHead,
    Response,
    ResponseHead,
    Role,
    Timing,
    Trace,
    Witness,
    WitnessConnection,
    WitnessState,
)

_UNOWNED = ("egress", "ingress")  # parts of a gap that no stream owns
_U64 = (1 << 64) - 1
_UNKNOWN_PROTOCOL = "unknown"
_NOTHING_REDACTED = Redacted()


class Ended(NamedTuple):
    """`final`: or only a part of it has."""

    state: WitnessState
    gaps: tuple[Gap, ...]
    reasons: tuple[str, ...]
    final: bool = True


class _View(NamedTuple):
    """`whole`: it comes in one part. `called`: it is gRPC, and messages are shown for bodies."""

    limits: Limits
    sizes_known: bool
    found: Found
    whole: bool
    last: bool
    called: bool

    def body(self, so_far: BodySoFar | None, end: EndFrame | None, headers: Headers) -> Body:
        limits = self.limits
        meta = bodies.Meta(headers, limits.body_bytes, self.sizes_known)
        if self.called:
            return bodies.counted(so_far, end, meta)
        if self.whole:
            return bodies.show(so_far, end, meta, self.found)
        meta = meta._replace(coded=limits.coded_bytes, last=self.last)
        return bodies.show_part(so_far, end, meta, self.found)


def build(exchange: Exchange, connection: Connection, ended: Ended, limits: Limits) -> Witness:
    """Of an exchange in parts the next one: what it shows is then no longer with the exchange."""
    identity = _identity(exchange)
    found: Found = []
    owned = all(gap.part not in _UNOWNED for gap in ended.gaps)
    called, parts = conversations.is_grpc(exchange), exchange.parts
    view = _View(limits, owned, found, parts is None, ended.final, called)
    head, cap = exchange.request or exchange.response, limits.body_bytes
    response = exchange.response
    upgraded = response is not None and response.upgraded == "websocket"
    return Witness(
        id=identity,
        part=1 if parts is None else parts.given + 1,
        final=ended.final,
        protocol=_UNKNOWN_PROTOCOL if head is None else head.protocol,
        role=_role(exchange, connection),
        state=ended.state,
        source=connection.source,
        connection=_connection(exchange, connection),
        request=_request(exchange, view),
        response=_response(exchange, view),
        timing=_timing(exchange),
        gaps=ended.gaps,
        trace=_trace(identity, exchange.request),
        partial_reasons=ended.reasons,
        anomalies=_anomalies(exchange.request, response),
        grpc=conversations.grpc(exchange, cap, found) if called else None,
        websocket=conversations.websocket(exchange, cap, found) if upgraded else None,
        redacted=_redacted(found),
    )


def _anomalies(asked: RequestHead | None, answered: ResponseHead | None) -> tuple[str, ...]:
    first = "" if asked is None else asked.anomaly
    second = "" if answered is None else answered.anomaly
    if not first and not second:
        return ()
    return tuple(anomaly for anomaly in (first, second) if anomaly)


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
        body=view.body(exchange.request_body, end, head.headers),
        hpack="partial" if head.hpack_partial else None,
        pushed=head.pushed,
    )


def _response(exchange: Exchange, view: _View) -> Response | None:
    head, end, found = exchange.response, exchange.response_end, view.found
    if head is None:
        return None
    return Response(
        status=head.status,
        headers=redaction.headers(head.headers, found),
        trailers=_trailers(end, found),
        body=view.body(exchange.response_body, end, head.headers),
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
