"""What h11 and h2 send, each as client and server, is what parse tells of it."""

from __future__ import annotations

from collections import defaultdict

import h2.config
import h2.connection
import h11
from hypothesis import given
from hypothesis import strategies as st

from services.messages import AnyFrame, BodyFrame, EndFrame, RequestHead, ResponseHead
from tests.support.wire import EGRESS, INGRESS, converse

_NAMES = st.text("abcdefxyz-", min_size=1, max_size=8).map(lambda name: f"x-{name}")
_VALUES = st.text("abc XYZ,=;/0123", max_size=20).map(str.strip)
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=5)
_PARTS = st.lists(st.binary(min_size=1, max_size=200), max_size=4)
_PATHS = st.text("abc/?=&%20", max_size=20).map(lambda path: f"/{path}")
_EXCHANGES = st.lists(
    st.tuples(
        st.sampled_from(["GET", "POST", "PUT"]), _PATHS, _HEADERS, _PARTS,
        st.sampled_from([200, 201, 404, 500]), _HEADERS, _PARTS, st.booleans(),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


class Told:
    """Frames by exchange, in order."""

    def __init__(self, frames: list[AnyFrame]) -> None:
        self.requests = [frame for frame in frames if isinstance(frame, RequestHead)]
        self.responses = {f.stream: f for f in frames if isinstance(f, ResponseHead)}
        self.ends = {(f.stream, f.side): f.size for f in frames if isinstance(f, EndFrame)}
        self.bodies: defaultdict[tuple[int, str], bytes] = defaultdict(bytes)
        for frame in frames:
            if isinstance(frame, BodyFrame):
                self.bodies[frame.stream, frame.side] += frame.data

    def check(self, exchanges: list[tuple]) -> None:
        assert len(self.requests) == len(self.responses) == len(exchanges)
        for request, exchange in zip(self.requests, exchanges, strict=True):
            method, path, headers, parts, status, answered, replies, _ = exchange
            response = self.responses[request.stream]
            assert (request.method, request.path, response.status) == (method, path, status)
            assert _own(request.headers) == headers
            assert _own(response.headers) == answered
            for side, sent in (("request", parts), ("response", replies)):
                assert self.bodies[request.stream, side] == b"".join(sent)
                assert self.ends[request.stream, side] == len(b"".join(sent))


def _own(headers: object) -> list[tuple[str, str]]:
    return [field for field in headers if field[0].startswith("x-")]


def _send(peer: h11.Connection, head: object, parts: list[bytes]) -> bytes:
    events = [head, *(h11.Data(data=part) for part in parts), h11.EndOfMessage()]
    return b"".join(peer.send(event) or b"" for event in events)


def _framing(parts: list[bytes], chunked: bool) -> list[tuple[str, str]]:
    if chunked:
        return [("Transfer-Encoding", "chunked")]
    return [("Content-Length", str(len(b"".join(parts))))]


@given(_EXCHANGES)
def test_http1_as_h11_sends_it(exchanges):
    client, server = h11.Connection(h11.CLIENT), h11.Connection(h11.SERVER)
    transcript = []
    for method, path, headers, parts, status, answered, replies, chunked in exchanges:
        fields = [("Host", "a"), *headers, *_framing(parts, chunked)]
        sent = _send(client, h11.Request(method=method, target=path, headers=fields), parts)
        server.receive_data(sent)
        while server.next_event() is not h11.PAUSED and server.their_state is not h11.DONE:
            pass
        fields = [*answered, *_framing(replies, chunked)]
        reply = _send(server, h11.Response(status_code=status, headers=fields), replies)
        client.receive_data(reply)
        while client.their_state is not h11.DONE:
            client.next_event()
        client.start_next_cycle()
        server.start_next_cycle()
        transcript += [(EGRESS, sent), (INGRESS, reply)]
    Told(converse(transcript, joined=False, limits=None)).check(exchanges)


def _peer(*, client: bool) -> h2.connection.H2Connection:
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client))
    peer.initiate_connection()
    return peer


@given(_EXCHANGES)
def test_http2_as_h2_sends_it(exchanges):
    client, server = _peer(client=True), _peer(client=False)
    transcript = []

    def pass_on() -> None:
        while True:
            sent, reply = client.data_to_send(), server.data_to_send()
            if not sent and not reply:
                return
            transcript.extend([(EGRESS, sent), (INGRESS, reply)])
            server.receive_data(sent)
            client.receive_data(reply)

    for method, path, headers, parts, status, answered, replies, padded in exchanges:
        stream, pad = client.get_next_available_stream_id(), 5 if padded else None
        pseudo = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path)]
        client.send_headers(stream, pseudo + headers)
        for part in parts:
            client.send_data(stream, part, pad_length=pad)
        client.end_stream(stream)
        pass_on()
        server.send_headers(stream, [(":status", str(status)), *answered])
        for part in replies:
            server.send_data(stream, part, pad_length=pad)
        server.end_stream(stream)
        pass_on()
    Told(converse(transcript, joined=False, limits=None)).check(exchanges)
