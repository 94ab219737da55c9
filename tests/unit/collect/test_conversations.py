"""What is shown of messages within an exchange: gRPC's and WebSocket's."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from services.messages import AnyFrame, Grpc, Headers, Message, WebSocket
from tests.unit.collect.transcript import (
    SECOND,
    body,
    end,
    fold,
    gap,
    grpc_message,
    only,
    opened,
    request_head,
    response_head,
    shard,
    upgraded,
    websocket_message,
    witnessed,
)

GOLDEN = Path(__file__).with_name("golden_conversations.json")
CALL: Headers = (("content-type", "application/grpc"), ("te", "trailers"))
OK: Headers = (("grpc-status", "0"),)


def called(*between: AnyFrame, headers: Headers = CALL, trailers: Headers = OK) -> Grpc:
    """A call over HTTP/2 whose messages are `between`."""
    frames = [
        request_head(method="POST", path="/shop.Cart/Add", protocol="http/2", headers=headers),
        end("request"),
        response_head(protocol="http/2", headers=headers),
        *between,
        end("response", trailers=trailers),
    ]
    found = only(witnessed(*frames)).grpc
    assert found is not None
    return found


def talked(*between: AnyFrame) -> WebSocket:
    found = only(witnessed(*upgraded(), *between, end("response"))).websocket
    assert found is not None
    return found


def test_messages_look_as_the_contract_says() -> None:
    frames = [
        grpc_message(b"\x0a\x05apple", "request"),
        grpc_message(b"\x08\x01", at=SECOND),
    ]
    talk = [
        websocket_message(b'{"token":"s3cret","n":1}', sender="client"),
        websocket_message(b"\x00\xff", "binary", at=SECOND),
        websocket_message(b"bye", "close", close_code=1000, at=SECOND),
    ]
    shown = msgspec.json.encode([called(*frames), talked(*talk)])
    assert msgspec.json.format(shown) + b"\n" == GOLDEN.read_bytes()


def test_a_call_is_known_by_its_path_and_trailers() -> None:
    found = called(trailers=(("grpc-status", "5"), ("grpc-message", "no%20such%20item%0a")))
    assert (found.service, found.method) == ("shop.Cart", "Add")
    assert (found.status, found.message) == (5, "no such item\n")


def test_a_call_with_trailers_only_is_known_by_its_response_head() -> None:
    frames = [
        request_head(method="POST", path="/shop.Cart/Add", protocol="http/2", headers=CALL),
        end("request"),
        response_head(protocol="http/2", headers=(*CALL, ("grpc-status", "12"))),
        end("response"),
    ]
    found = only(witnessed(*frames)).grpc
    assert found == Grpc(service="shop.Cart", method="Add", status=12)


@pytest.mark.parametrize(
    ("path", "service", "method"),
    [
        ("/a.B/C?x=1", "a.B", "C"),
        ("/proxy/a.B/C", "proxy/a.B", "C"),
        ("/", None, None),
        ("*", None, None),
        (None, None, None),
    ],
)
def test_a_path_that_names_no_method_is_none(
    path: str | None, service: str | None, method: str | None
) -> None:
    frames = [request_head(method="POST", path=path, headers=CALL), end("request")]
    found = only(witnessed(*frames, response_head(), end("response", trailers=OK))).grpc
    assert found is not None
    assert (found.service, found.method) == (service, method)


@pytest.mark.parametrize("status", ["", "x", "-1", "9999", "\u0663"])
def test_a_status_that_is_none_is_not_told(status: str) -> None:
    assert called(trailers=(("grpc-status", status),)).status is None


@pytest.mark.parametrize(
    ("method", "media"),
    [("GET", "application/grpc"), ("POST", "application/json"), ("POST", "text/grpc")],
)
def test_what_is_no_call_has_no_grpc(method: str, media: str) -> None:
    head = request_head(method=method, headers=(("Content-Type", media),))
    witness = only(witnessed(head, end("request"), response_head(), end("response")))
    assert (witness.grpc, witness.websocket) == (None, None)


def test_grpc_web_over_http1_is_a_call() -> None:
    found = called(
        grpc_message(b"\x08\x01"), headers=(("Content-Type", "application/grpc-web-text+proto"),)
    )
    assert found.messages[0].base64 == "CAE="


def test_a_message_that_is_text_by_its_type_is_shown_as_text_and_redacted() -> None:
    found = called(
        grpc_message(b'{"password":"s3cret"}', "request"),
        headers=(("content-type", "application/grpc+json"),),
    )
    assert found.messages[0].text == '{"password":"*REDACTED*"}'


def test_protocol_buffers_are_base64_even_where_they_look_like_text() -> None:
    assert called(grpc_message(b"plain")).messages[0].base64 == "cGxhaW4="


def test_a_compressed_message_is_undone() -> None:
    data = gzip.compress(b"x" * 100, mtime=0)
    (message,) = called(grpc_message(data, encoding="gzip")).messages
    assert (message.decoded, message.encoding, message.size) == (True, "gzip", len(data))
    assert message.captured == len(data)
    assert message.base64 is not None
    assert len(message.base64) == 136


def test_a_compressed_message_is_bounded() -> None:
    state = shard(body_bytes=32_768)
    frames = [
        request_head(method="POST", headers=CALL),
        end("request"),
        response_head(),
        grpc_message(gzip.compress(bytes(20 << 20)), encoding="gzip"),
        end("response", trailers=OK),
    ]
    found = only(fold(state, opened(), *frames)).grpc
    assert found is not None
    (message,) = found.messages
    assert (message.truncated_by, len(message.base64 or "")) == ("bomb", 43_692)


@pytest.mark.parametrize("encoding", ["snappy", "identity"])
def test_a_message_whose_coding_nobody_knows_stays(encoding: str) -> None:
    (message,) = called(grpc_message(b"\x01\x02", encoding=encoding)).messages
    assert (message.decoded, message.base64) == (False, "AQI=")


def test_a_call_has_its_bodies_sizes_and_no_bytes_of_them() -> None:
    frames = [
        request_head(method="POST", headers=CALL),
        body(b"", "request", skipped=7),
        grpc_message(b"\x08\x01", "request"),
        end("request", 7),
        response_head(),
        gap("response.body", 5),
        end("response", 5, trailers=OK),
    ]
    witness = only(witnessed(*frames))
    assert witness.request is not None
    assert witness.response is not None
    asked, answered = witness.request.body, witness.response.body
    assert (asked.size, asked.captured, asked.truncated) == (7, 0, False)
    assert (answered.size, answered.truncated_by) == (5, "gap")


def test_control_frames_are_messages_too() -> None:
    found = talked(
        websocket_message(b"beat", "ping"),
        websocket_message(b"\xff", "pong", sender="client"),
        websocket_message(b"", "text"),
    )
    assert [(m.type, m.text, m.base64) for m in found.messages] == [
        ("ping", "beat", None),
        ("pong", None, "/w=="),
        ("text", None, None),
    ]


def test_secrets_in_a_message_go_whatever_stands_around_them() -> None:
    found = talked(
        websocket_message(b'42["login",{"password":"s3cret"}]'),
        websocket_message(b'{"token":"s3cret"}', "binary"),
        websocket_message(b'{"token":"s3cret"}', "close", close_code=3000),
    )
    assert "s3cret" not in str(msgspec.to_builtins(found))
    assert "czNjcmV0" not in str(msgspec.to_builtins(found))
    assert found.messages[0].text == '42["login",{"password":"*REDACTED*"}]'


def test_what_cuts_a_message_is_told() -> None:
    found = talked(
        websocket_message("é".encode()[:1] + b"", truncated_by="cap", size=2),
        websocket_message("aé".encode()[:2], truncated_by="cap", size=3),
        websocket_message(b"", truncated_by="context", size=None, compressed=True),
    )
    assert [(m.text, m.truncated_by, m.size) for m in found.messages] == [
        (None, "cap", 2),
        ("a", "cap", 3),
        (None, "context", None),
    ]


def test_a_message_says_when_it_began() -> None:
    (message,) = talked(websocket_message(b"x", at=SECOND)).messages
    assert message.time == "2026-01-12T10:00:01.000000000Z"


def test_a_message_does_not_say_its_bytes() -> None:
    shown = Message(sender="client", time="", type="text", size=6, captured=6, text="s3cret")
    assert "s3cret" not in repr(shown)
    assert "s3cret" not in repr(websocket_message(b"s3cret"))
    assert "s3cret" not in repr(grpc_message(b"s3cret"))
