"""What a witness says as a span: OpenTelemetry's HTTP and RPC conventions, with the wire's times.

Knows the conventions, not the SDK. Redaction of URLs is not whole yet, so a span carries method,
status and server.address only; of gRPC also service and method, which its definition names.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from services.messages import Grpc, Source, Witness

# Others may be anybody's bytes: the convention's name for them is _OTHER.
_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY"}
)
_ADDRESS = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(\d{1,5}))?")
_FIRST_ERROR = {"client": 400, "server": 500}
# A server's fault is UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
_GRPC_ERRORS = {"client": frozenset(range(1, 1000)), "server": frozenset({2, 4, 12, 13, 14, 15})}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SERVICE = re.compile(r"(?=.{1,255}\Z)[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_NANOSECONDS = 1_000_000_000

Attributes = dict[str, str | int]


class Span(Struct, frozen=True, kw_only=True):
    name: str
    kind: Literal["client", "server"]
    trace_id: int
    span_id: int
    parent_span_id: int | None
    start_ns: int
    end_ns: int
    attributes: Attributes
    failed: bool
    source: Source


def span(witness: Witness) -> Span | None:
    """None where the application's trace is not sampled, or no time is known."""
    timing, trace = witness.timing, witness.trace
    told = (timing.request_start, timing.request_end, timing.response_start, timing.response_end)
    times = [unix_ns(time) for time in told if time is not None]
    if not trace.sampled or not times:
        return None
    error = _error(witness)
    return Span(
        name=_name(witness),
        kind=witness.role,
        trace_id=int(trace.trace_id, 16),
        span_id=int(trace.span_id, 16),
        parent_span_id=int(trace.parent_span_id, 16) if trace.parent_span_id else None,
        start_ns=times[0],
        end_ns=max(times),
        attributes=_attributes(witness, error),
        failed=bool(error),
        source=witness.source,
    )


def _name(witness: Witness) -> str:
    """The method; a target is of too many values, and may hold secrets."""
    if witness.grpc is not None and (called := _called(witness.grpc)):
        return "/".join(called)
    method = None if witness.request is None else witness.request.method
    return method if method in _METHODS and method is not None else "HTTP"


def _called(grpc: Grpc) -> tuple[str, str] | None:
    """Service and method where they are names (Protocol Buffers' identifiers), else anybody's."""
    if grpc.service is None or grpc.method is None:
        return None
    found = _SERVICE.fullmatch(grpc.service) and _IDENTIFIER.fullmatch(grpc.method)
    return (grpc.service, grpc.method) if found else None


def _rpc(grpc: Grpc) -> Attributes:
    attributes: Attributes = {"rpc.system": "grpc"}
    if called := _called(grpc):
        attributes |= {"rpc.service": called[0], "rpc.method": called[1]}
    if grpc.status is not None:
        attributes["rpc.grpc.status_code"] = grpc.status
    return attributes


def _attributes(witness: Witness, error: str) -> Attributes:
    attributes: Attributes = {"plainwire.witness.id": witness.id}
    name, _, version = witness.protocol.partition("/")
    if version:
        attributes |= {"network.protocol.name": name, "network.protocol.version": version}
    request, response = witness.request, witness.response
    if request is not None and request.method is not None:
        known = request.method in _METHODS
        attributes["http.request.method"] = request.method if known else "_OTHER"
    if request is not None and request.authority is not None:
        attributes |= _server(request.authority)
    attributes = _ends(witness) | attributes
    if response is not None and response.status is not None:
        attributes["http.response.status_code"] = response.status
    if witness.grpc is not None:
        attributes |= _rpc(witness.grpc)
    if error:
        attributes["error.type"] = error
    return attributes


def _server(authority: str) -> Attributes:
    match = _ADDRESS.fullmatch(authority)
    if match is None:
        return {}
    address: Attributes = {"server.address": match[1].strip("[]")}
    return address | {"server.port": int(match[2])} if match[2] else address


def _ends(witness: Witness) -> Attributes:
    """What is proven of both ends; a client's server has the name that it was asked for, if any."""
    found: Attributes = {}
    for side, told in (("local", witness.connection.local), ("peer", witness.connection.peer)):
        if told is not None and (match := _ADDRESS.fullmatch(told)):
            address, port = match[1].strip("[]"), int(match[2])
            found |= {f"network.{side}.address": address, f"network.{side}.port": port}
            if side == "peer":
                other = "server" if witness.role == "client" else "client"
                found |= {f"{other}.address": address, f"{other}.port": port}
    return found


def _error(witness: Witness) -> str:
    """error.type: the status where it is an error for this role, else how the exchange ended."""
    status = None if witness.response is None else witness.response.status
    if status is not None and status >= _FIRST_ERROR[witness.role]:
        return str(status)
    if witness.grpc is not None and witness.grpc.status in _GRPC_ERRORS[witness.role]:
        return str(witness.grpc.status)
    return "" if witness.state in ("complete", "open") else witness.state


def unix_ns(rfc3339: str) -> int:
    second, _, fraction = rfc3339.removesuffix("Z").partition(".")
    return _unix(second) * _NANOSECONDS + int(fraction)


@lru_cache(maxsize=1024)
def _unix(second: str) -> int:
    return int(datetime.fromisoformat(f"{second}+00:00").timestamp())
