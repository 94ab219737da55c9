"""What a person sees: one line for each witness, frame, record or coverage entry. Pure.

Captured bytes are hostile: whatever could move a cursor, hide or reorder text is escaped, and query
values and user information are masked, because people paste terminals into tickets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, tzinfo

from services.messages import Coverage, Grpc, Message, Request, Response, WebSocket, Witness

_MAX_TARGET = 300
_MASK = "***"
_USER_INFORMATION = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)?[^/?#@]*@")
# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
_GRPC_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
ARROWS = {"client": "->", "server": "<-"}
_PREPOSITIONS = {"client": "to", "server": "from"}
# JSON escapes C0 by itself; these pass it and still steer a terminal.
_JSON_HOSTILE = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def escape(text: str) -> str:
    """Everything that is not printable as \\xNN, \\uNNNN or \\UNNNNNNNN."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def safe_json(payload: bytes) -> bytes:
    """The same JSON value in which nothing steers a terminal."""
    text = payload.decode(errors="replace").replace("\n", " ")
    return _JSON_HOSTILE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def target(authority: str | None, path: str | None, scheme: str | None) -> str:
    """`https://host/path?key=***`, escaped and not longer than a line or two."""
    place, question, query = ("/(path unknown)" if path is None else path).partition("?")
    place = _USER_INFORMATION.sub(_without_user, place, count=1)
    if not place.startswith("/") and place != "*":  # absolute form, or CONNECT's authority
        whole = place
    else:
        host = _USER_INFORMATION.sub(_without_user, authority or "", count=1)
        whole = f"{scheme or 'https'}://{host or '(host unknown)'}{place}"
    return escape(_shortened(whole + question + _masked(query)))


def _without_user(found: re.Match[str]) -> str:
    return f"{found[1] or ''}{_MASK}@"


def _masked(query: str) -> str:
    """Keys stay, values go; a part without a key may itself be a token."""
    if not query:
        return ""
    parts = re.split("([&;])", query)
    return "".join(part if part in "&;" else _masked_part(part) for part in parts)


def _masked_part(part: str) -> str:
    key, found, _ = part.partition("=")
    return f"{key}={_MASK}" if found else _MASK


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_TARGET else f"{text[:_MAX_TARGET]}...({len(text)} characters)"


def witness_line(witness: Witness, zone: tzinfo | None = None) -> str:
    """`12:03:04.567 curl[42] -> http/1.1 GET https://h/?a= 200 0 B / 5 B 8.0 ms to [::1]:443`."""
    request, response = witness.request, witness.response
    words = [
        clock(witness.timing.request_start or witness.timing.response_start, zone),
        f"{escape(witness.source.process or witness.source.workload)}[{witness.source.pid}]",
        ARROWS[witness.role],
        escape(witness.protocol),
        escape((request.method if request else None) or "(method unknown)"),
        target(request.authority, request.path, request.scheme)
        if request
        else "(request not seen)",
        str(response.status) if response and response.status is not None else "-",
        f"{_size(request)} / {_size(response)}",
    ]
    if witness.timing.latency_ms is not None:
        words.append(f"{witness.timing.latency_ms:.1f} ms")
    if witness.connection.peer is not None:
        words.append(f"{_PREPOSITIONS[witness.role]} {escape(witness.connection.peer)}")
    return " ".join([*words, *remarks(witness)])


def remarks(witness: Witness) -> Iterable[str]:
    if witness.state != "complete":
        yield witness.state
    if not witness.final or witness.part > 1:
        yield f"part {witness.part}, the last" if witness.final else f"part {witness.part}"
    if witness.grpc is not None:
        yield _grpc(witness.grpc)
    if witness.websocket is not None:
        yield _websocket(witness.websocket)
    for anomaly in witness.anomalies:
        yield f"[{escape(anomaly)}]"
    for gap in witness.gaps:
        yield f"[{gap.bytes} B missing in {escape(gap.part)}: {escape(gap.reason)}]"
    for reason in witness.partial_reasons:
        yield f"[{escape(reason)}]"
    if witness.connection.mid_connection:
        yield "[connection seen from its middle]"


def _grpc(grpc: Grpc) -> str:
    """Its status by name; the message beside it may be anything, and is not for a terminal."""
    known = grpc.status is not None and grpc.status < len(_GRPC_STATUSES)
    status = _GRPC_STATUSES[grpc.status or 0] if known else f"status {grpc.status}"
    told = [] if grpc.status is None else [status]
    return f"grpc {' '.join([*told, _messages(grpc.messages)])}"


def _websocket(websocket: WebSocket) -> str:
    closed = "" if websocket.close_code is None else f" close {websocket.close_code}"
    return f"websocket {_messages(websocket.messages)}{closed}"


def _messages(messages: tuple[Message, ...]) -> str:
    sent = sum(message.sender == "client" for message in messages)
    return f"{sent} / {len(messages) - sent} messages"


def _size(side: Request | Response | None) -> str:
    return "-" if side is None or side.body.size is None else f"{side.body.size} B"


def clock(timestamp: str | None, zone: tzinfo | None = None) -> str:
    """RFC 3339 with nanoseconds -> local wall time in milliseconds."""
    try:
        moment = datetime.fromisoformat(f"{(timestamp or '')[:26].rstrip('Z')}+00:00")
    except ValueError:
        return "--:--:--.---"
    return moment.astimezone(zone).strftime("%H:%M:%S.%f")[:12]


def coverage_lines(coverage: Coverage) -> Iterable[str]:
    """A line for each process with TLS code on one node, the captured ones first."""
    order = {"captured": 0, "partly": 1, "not_captured": 2, "excluded": 3}
    for entry in sorted(coverage.processes, key=lambda e: (order[e.state], e.process, e.pid)):
        parts = (f"{entry.process}[{entry.pid}]", entry.state, entry.library, entry.file)
        what = " ".join(part for part in parts if part)
        why = f": {entry.reason}" if entry.reason else ""
        yield escape(f"{coverage.node} {what}{why}")
    for file, reason in coverage.failed:
        yield escape(f"{coverage.node} {file} not probed: {reason}")
    if not coverage.processes and not coverage.failed:
        files = ", ".join(t.name for t in coverage.attached) or "no file"
        yield escape(f"{coverage.node} probes on {files}; no process uses TLS")
