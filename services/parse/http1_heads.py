"""Heads of HTTP/1 messages: what a whole one means for its exchange and for the bytes after it.

A response answers the oldest request that has none (RFC 9112 §9.3.2). Knows nothing of bytes that
are still to come.
"""

from __future__ import annotations

import re

from services.messages import InterimHead, RequestHead, ResponseHead
from services.parse import contents, fields, http1_pairing
from services.parse.emission import Emission
from services.parse.http1_bodies import begin_body
from services.parse.http1_state import Half, Http1, Phase, Waiting, end

_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)")


def message(http: Http1, half: Half, head: bytes, out: Emission) -> bool:
    """False where it is none."""
    first, _, rest = head.partition(b"\n")
    first = first.removesuffix(b"\r")
    found = fields.fields(rest)
    if found is None:
        return False
    if found.framing.anomaly:
        out.count("anomalies")
    read = _request if half is http.request else _response
    return read(http, first, found, out)


def _request(http: Http1, first: bytes, found: fields.Fields, out: Emission) -> bool:
    line, half = fields.request_line(first), http.request
    if line is None or (found.framing.coded and not found.framing.chunked):
        return False
    http1_pairing.requested(http)
    http.exchanges += 1
    half.stream = http.exchanges
    contents.begin(half, found.framing.media, found.headers, out)
    http.waiting.append(Waiting(half.stream, line.method))
    scheme, authority = _where(line, found)
    out.emit(
        RequestHead(
            connection=out.connection, time_ns=half.started_ns, stream=half.stream,
            protocol=line.version, direction=half.direction, method=line.method, scheme=scheme,
            authority=authority, path=line.target, headers=found.headers,
            anomaly=found.framing.anomaly,
        ),
        2 * len(first) + found.size,
    )  # fmt: skip
    http.turning = half.stream if line.method == "CONNECT" or found.framing.upgrade else 0
    begin_body(http, half, found.framing, out)
    http.expecting = half.stream if found.framing.expects else 0
    return True


def _where(line: fields.RequestLine, found: fields.Fields) -> tuple[str, str | None]:
    """TLS carried it, so the scheme is https where the target does not say (RFC 9110 §7.1)."""
    if line.target[0] == "/":
        return "https", found.framing.host
    if absolute := _ABSOLUTE.match(line.target):
        return absolute[1].lower(), absolute[2]
    return "https", line.target if line.method == "CONNECT" else found.framing.host


def _response(http: Http1, first: bytes, found: fields.Fields, out: Emission) -> bool:
    line, half = fields.status_line(first), http.response
    if line is None:
        return False
    if not http.waiting:  # its request was before our time, or is lost
        http.exchanges += 1
        http.waiting.append(Waiting(http.exchanges, ""))
        http1_pairing.orphaned(http)
    request = http.waiting[0]
    half.stream = request.stream
    contents.begin(half, found.framing.media, found.headers, out)
    if 100 <= line.status < 200:
        _interim(http, line.status, found, out)
        return True
    del http.waiting[0]
    http1_pairing.answered(http)
    _refuse(http, request.stream)
    if http.turning == request.stream:
        http.turning = 0
    tunnel = request.method == "CONNECT" and line.status < 300
    out.emit(
        ResponseHead(
            connection=out.connection, time_ns=half.started_ns, stream=half.stream,
            protocol=line.version, direction=half.direction, status=line.status,
            headers=found.headers, anomaly=found.framing.anomaly,
            upgraded="tunnel" if tunnel else "",
        ),
        2 * len(first) + found.size,
    )  # fmt: skip
    if tunnel:
        http.left = "tunnel"
    if tunnel or request.method == "HEAD" or line.status in (204, 304):
        end(http, half, (), out)
    elif request.method:
        begin_body(http, half, found.framing, out)
    else:
        _may_have_body(http, half, found, out)
    return True


def _refuse(http: Http1, stream: int) -> None:
    """A client that was not told to go on may leave its body out (RFC 9110 §10.1.1): what follows
    is that body or the next request."""
    half = http.request
    if http.expecting == stream == half.stream and not half.size and not half.buffer:
        http.expecting = 0
        if half.phase in (Phase.LENGTH, Phase.CHUNK_SIZE):
            half.after, half.phase = half.phase, Phase.PEEK


def _may_have_body(http: Http1, half: Half, found: fields.Fields, out: Emission) -> None:
    """Its request was not seen: a HEAD's answer would have none."""
    if found.framing.length == 0 and not found.framing.coded:
        end(http, half, (), out)
        return
    begin_body(http, half, found.framing, out)
    half.after, half.phase = half.phase, Phase.PEEK


def _interim(http: Http1, status: int, found: fields.Fields, out: Emission) -> None:
    half = http.response
    http.expecting = 0
    out.emit(
        InterimHead(
            connection=out.connection, time_ns=half.started_ns, stream=half.stream,
            status=status, headers=found.headers,
            upgraded=(found.framing.upgrade or "unknown") if status == 101 else "",
        ),
        found.size,
    )  # fmt: skip
    if status == 101:
        del http.waiting[0]
        http.left = found.framing.upgrade or "unknown"
        if http.left != "websocket":  # that ends later
            end(http, half, (), out)
