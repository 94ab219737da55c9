"""A witness and its request as dull as they can be: a test changes what it is about."""

from __future__ import annotations

import msgspec

from services.messages import (
    Body,
    Redacted,
    Request,
    Response,
    Source,
    Timing,
    Trace,
    Witness,
    WitnessConnection,
)

EMPTY = Body(size=0, captured=0, truncated=False)
_REQUEST = Request(
    method="GET", scheme="https", authority="h", path="/", headers=(), trailers=(), body=EMPTY
)
_WITNESS = Witness(
    id="1",
    part=1,
    final=True,
    protocol="http/1.1",
    role="client",
    state="complete",
    source=Source(node="n", namespace="host", workload="curl", pid=42, process="curl"),
    connection=WitnessConnection(id="0" * 16, stream=1),
    request=_REQUEST,
    response=Response(status=200, headers=(), trailers=(), body=EMPTY),
    timing=Timing(request_start="2026-01-12T10:00:00.123456789Z", latency_ms=8.0),
    redacted=Redacted(),
    gaps=(),
    trace=Trace(trace_id="0" * 32, span_id="0" * 16),
)


def request(**changes: object) -> Request:
    return msgspec.structs.replace(_REQUEST, **changes)


def witness(**changes: object) -> Witness:
    return msgspec.structs.replace(_WITNESS, **changes)
