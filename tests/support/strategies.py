"""Traffic that hypothesis makes: every protocol that is read, whole and mangled."""

from __future__ import annotations

import hpack as reference
from hypothesis import strategies as st

from services.messages import Direction
from tests.support.messages import BINARY, CLOSE, MASK, PING, TEXT, Deflater, grpc, websocket
from tests.support.wire import EGRESS, INGRESS

Transcript = list[tuple[Direction, bytes]]

_TOKENS = st.text("abcXYZ-", min_size=1, max_size=8)
_BODIES = st.binary(max_size=300)


def _chunked(body: bytes, size: int) -> bytes:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;e\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\nT: 1\r\n\r\n"


@st.composite
def http1_messages(draw: st.DrawFn, first: str) -> bytes:
    headers = "".join(f"{name}: {value}\r\n" for name, value in draw(
        st.lists(st.tuples(_TOKENS, _TOKENS), max_size=3)))  # fmt: skip
    body = draw(_BODIES)
    if draw(st.booleans()):
        framing, sent = "Transfer-Encoding: chunked\r\n", _chunked(body, draw(st.integers(1, 99)))
    else:
        framing, sent = f"Content-Length: {len(body)}\r\n", body
    return f"{first}\r\n{headers}{framing}\r\n".encode() + sent


@st.composite
def http1_transcripts(draw: st.DrawFn) -> Transcript:
    transcript = []
    for _ in range(draw(st.integers(1, 3))):
        pipelined = draw(st.integers(1, 2))
        for _ in range(pipelined):
            transcript.append((EGRESS, draw(http1_messages("POST /p?q HTTP/1.1"))))
        for _ in range(pipelined):
            transcript.append((INGRESS, draw(http1_messages("HTTP/1.1 200 OK"))))
    return transcript


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _h2_message(peer: reference.Encoder, fields: list[tuple[str, str]], stream: int,
                body: bytes) -> bytes:  # fmt: skip
    block = peer.encode(fields)
    return (
        _frame(1, 0, stream, block[:3])
        + _frame(9, 4, stream, block[3:])
        + _frame(0, 8, stream, b"\x02" + body + bytes(2))
        + _frame(0, 1, stream, body)
    )


@st.composite
def http2_transcripts(draw: st.DrawFn) -> Transcript:
    client, server = reference.Encoder(), reference.Encoder()
    transcript = [(EGRESS, _PREFACE + _frame(4, 0, 0, b""))]
    transcript.append((INGRESS, _frame(4, 0, 0, b"") + _frame(4, 1, 0, b"")))
    for stream in range(1, 2 * draw(st.integers(1, 4)), 2):
        path, value = f"/{draw(_TOKENS)}", draw(_TOKENS)
        request = [(":method", "PUT"), (":path", path), ("x-value", value)]
        transcript.append((EGRESS, _h2_message(client, request, stream, draw(_BODIES))))
        response = [(":status", "200"), ("x-value", value)]
        transcript.append((INGRESS, _h2_message(server, response, stream, draw(_BODIES))))
    return transcript


@st.composite
def _websocket_side(draw: st.DrawFn, mask: bytes) -> list[bytes]:
    """Some messages of one side: in fragments, compressed, with control frames between."""
    deflater, found = Deflater(takeover=draw(st.booleans())), []
    for _ in range(draw(st.integers(0, 4))):
        payload, compressed = draw(_BODIES), draw(st.booleans())
        if compressed:
            payload = deflater.message(payload)
        at = draw(st.integers(0, len(payload)))
        pieces = [payload[:at], payload[at:]] if draw(st.booleans()) else [payload]
        for index, piece in enumerate(pieces):
            opcode = draw(st.sampled_from([TEXT, BINARY])) if index == 0 else 0
            found.append(websocket(
                opcode, piece, mask=mask, fin=index == len(pieces) - 1,
                rsv1=compressed and index == 0,
            ))  # fmt: skip
            if draw(st.booleans()):
                found.append(websocket(PING, draw(st.binary(max_size=9)), mask=mask))
    if draw(st.booleans()):
        found.append(websocket(CLOSE, b"\x03\xe8bye", mask=mask))
    return found


@st.composite
def websocket_transcripts(draw: st.DrawFn) -> Transcript:
    """After an upgrade of HTTP/1.1."""
    transcript = [
        (EGRESS, b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"),
        (INGRESS, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
    ]
    said = [(EGRESS, frame) for frame in draw(_websocket_side(MASK))]
    said += [(INGRESS, frame) for frame in draw(_websocket_side(b""))]
    return transcript + said


def _h2_head(peer: reference.Encoder, stream: int, *fields: tuple[str, str]) -> bytes:
    return _frame(1, 4, stream, peer.encode(fields))


@st.composite
def _in_data_frames(draw: st.DrawFn, content: bytes, stream: int) -> bytes:
    size = draw(st.integers(1, 60))
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(_frame(0, 0, stream, piece) for piece in pieces) + _frame(0, 1, stream, b"")


@st.composite
def grpc_transcripts(draw: st.DrawFn) -> Transcript:
    client, server = reference.Encoder(), reference.Encoder()
    messages = st.lists(st.builds(grpc, _BODIES, st.integers(0, 1)), max_size=4).map(b"".join)
    kind = draw(st.sampled_from(["application/grpc", "application/grpc-web+proto"]))
    transcript = [(EGRESS, _PREFACE + _frame(4, 0, 0, b"")), (INGRESS, _frame(4, 0, 0, b""))]
    for stream in range(1, 2 * draw(st.integers(1, 3)), 2):
        transcript.append((EGRESS, _h2_head(
            client, stream, (":method", "POST"), (":path", "/s.S/M"), ("content-type", kind),
            ("grpc-encoding", "gzip"),
        ) + draw(_in_data_frames(draw(messages), stream))))  # fmt: skip
        transcript.append((INGRESS, _h2_head(
            server, stream, (":status", "200"), ("content-type", kind)
        ) + draw(_in_data_frames(draw(messages), stream))))  # fmt: skip
    return transcript


@st.composite
def websocket_over_http2_transcripts(draw: st.DrawFn) -> Transcript:
    client, server = reference.Encoder(), reference.Encoder()
    asked = [(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/chat")]
    said, answered = draw(_websocket_side(MASK)), draw(_websocket_side(b""))
    return [
        (EGRESS, _PREFACE + _frame(4, 0, 0, b"") + _h2_head(client, 1, *asked)),
        (INGRESS, _frame(4, 0, 0, b"") + _h2_head(server, 1, (":status", "200"))),
        (EGRESS, draw(_in_data_frames(b"".join(said), 1))),
        (INGRESS, draw(_in_data_frames(b"".join(answered), 1))),
    ]


@st.composite
def tunnels(draw: st.DrawFn) -> Transcript:
    return [
        (EGRESS, b"CONNECT b:80 HTTP/1.1\r\nHost: b\r\n\r\n"),
        (INGRESS, b"HTTP/1.1 200 OK\r\n\r\n"),
        *draw(http1_transcripts()),
    ]


EXCHANGES = http1_transcripts() | http2_transcripts() | grpc_transcripts() | tunnels()
TRANSCRIPTS = EXCHANGES | websocket_transcripts() | websocket_over_http2_transcripts()
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@st.composite
def mangled(draw: st.DrawFn) -> Transcript:
    transcript = draw(TRANSCRIPTS)
    found = []
    for direction, data in transcript:
        changed = bytearray(data)
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(changed)))
            changed[at : at + draw(st.integers(0, 5))] = draw(st.binary(max_size=5))
        found.append((direction, bytes(changed)))
    return found
