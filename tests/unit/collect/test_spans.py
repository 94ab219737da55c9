"""What a witness says as a span: OpenTelemetry's HTTP conventions, nothing that may be secret."""

from __future__ import annotations

import msgspec
import pytest

from services.collect.spans import Span, span, unix_ns
from services.messages import AnyFrame, Direction
from tests.unit.collect.transcript import (
    MS,
    NOON,
    SOURCE,
    closed,
    end,
    only,
    opened,
    request,
    request_head,
    reset,
    response,
    response_head,
    witnessed,
)

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def spanned(*frames: AnyFrame) -> Span:
    found = span(only(witnessed(*frames)))
    assert found is not None
    return found


def test_an_exchange_is_a_span_with_the_wires_times() -> None:
    frames = [
        request_head(method="POST", path="/secret?x=1", authority="api.example.com:8443"),
        end("request", at=2 * MS),
        response_head(at=10 * MS, status=201),
        end("response", at=13 * MS),
    ]
    witness = only(witnessed(*frames))
    assert spanned(*frames) == Span(
        name="POST",
        kind="client",
        trace_id=int(witness.trace.trace_id, 16),
        span_id=int(witness.trace.span_id, 16),
        parent_span_id=None,
        start_ns=NOON,
        end_ns=NOON + 13 * MS,
        attributes={
            "plainwire.witness.id": witness.id,
            "network.protocol.name": "http",
            "network.protocol.version": "1.1",
            "http.request.method": "POST",
            "server.address": "api.example.com",
            "server.port": 8443,
            "http.response.status_code": 201,
        },
        failed=False,
        source=SOURCE,
    )


def test_a_span_has_the_addresses_that_are_proven() -> None:
    ends = opened(local="10.0.0.7:51234", peer="[fd00::9]:443")
    exchange = [request_head(authority=None), end("request"), response_head(), end("response")]
    found = spanned(ends, *exchange).attributes
    assert found["network.local.address"] == "10.0.0.7"
    assert found["network.local.port"] == 51234
    assert found["network.peer.address"] == found["server.address"] == "fd00::9"
    assert found["network.peer.port"] == found["server.port"] == 443


def test_a_server_s_span_names_its_client_and_keeps_its_own_name() -> None:
    ends = opened(local="10.0.0.7:443", peer="10.0.0.9:51234")
    head = request_head(direction=Direction.INGRESS, authority="api.example.com")
    found = spanned(ends, head, end("request"), response_head(), end("response")).attributes
    assert (found["client.address"], found["client.port"]) == ("10.0.0.9", 51234)
    assert found["server.address"] == "api.example.com"
    assert "server.port" not in found


@pytest.mark.parametrize(
    ("direction", "status", "error"),
    [
        (Direction.EGRESS, 399, None),
        (Direction.EGRESS, 404, "404"),
        (Direction.INGRESS, 404, None),
        (Direction.INGRESS, 503, "503"),
    ],
)
def test_a_status_is_an_error_where_the_conventions_say_so(
    direction: Direction, status: int, error: str | None
) -> None:
    frames = [request_head(direction=direction), end("request"), response_head(status=status)]
    found = spanned(*frames, end("response"))
    assert found.kind == ("client" if direction == Direction.EGRESS else "server")
    assert (found.attributes.get("error.type"), found.failed) == (error, error is not None)


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([*request(), closed()], "no_response"),
        ([*response(), closed()], "no_request"),
        ([*request(), reset(8)], "reset"),
    ],
)
def test_what_is_not_complete_is_an_error_of_its_kind(frames: list[AnyFrame], error: str) -> None:
    found = spanned(*frames)
    assert (found.attributes["error.type"], found.failed) == (error, True)


@pytest.mark.parametrize(
    ("direction", "status", "error"),
    [
        (Direction.EGRESS, "0", None),
        (Direction.EGRESS, "5", "5"),
        (Direction.INGRESS, "5", None),
        (Direction.INGRESS, "13", "13"),
    ],
)
def test_a_call_of_grpc_is_a_span_of_the_rpc_conventions(
    direction: Direction, status: str, error: str | None
) -> None:
    head = request_head(
        method="POST", path="/shop.Cart/Add", direction=direction, protocol="http/2",
        headers=(("content-type", "application/grpc"),),
    )  # fmt: skip
    ended = end("response", trailers=(("grpc-status", status), ("grpc-message", "s3cret")))
    found = spanned(head, end("request"), response_head(protocol="http/2"), ended)
    assert found.name == "shop.Cart/Add"
    assert {k: v for k, v in found.attributes.items() if k.startswith("rpc.")} == {
        "rpc.system": "grpc",
        "rpc.service": "shop.Cart",
        "rpc.method": "Add",
        "rpc.grpc.status_code": int(status),
    }
    assert (found.attributes.get("error.type"), found.failed) == (error, error is not None)
    assert "s3cret" not in str(found)


@pytest.mark.parametrize("path", ["/a.B/token=s3cret", "/s3 cret/C", "/a.B/" + "s3cret" * 99, None])
def test_a_path_that_is_no_name_of_a_method_is_not_told(path: str | None) -> None:
    head = request_head(method="POST", path=path, headers=(("content-type", "application/grpc"),))
    found = spanned(head, end("request"), *response())
    assert (found.name, "rpc.method" in found.attributes) == ("POST", False)
    assert "s3cret" not in str(found)


def test_the_applications_trace_is_the_parent() -> None:
    carried = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
    found = spanned(*request(headers=carried), *response())
    assert (found.trace_id, found.parent_span_id) == (int(TRACE, 16), int(PARENT, 16))


def test_a_trace_that_is_not_sampled_gets_no_span() -> None:
    carried = (("traceparent", f"00-{TRACE}-{PARENT}-00"),)
    assert span(only(witnessed(*request(headers=carried), *response()))) is None


def test_a_method_that_nobody_knows_is_not_told() -> None:
    found = spanned(request_head(method="S3CRET"), end("request"), *response())
    assert (found.name, found.attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert "S3CRET" not in str(found.attributes)


@pytest.mark.parametrize(
    ("authority", "address", "port"),
    [
        ("host", "host", None),
        ("[::1]:443", "::1", 443),
        ("10.0.0.1:1", "10.0.0.1", 1),
        ("me:pw@host", "host", None),
        ("not an address", None, None),
        ("host:port", None, None),
        (None, None, None),
    ],
)
def test_an_address_is_told_where_it_is_one(
    authority: str | None, address: str | None, port: int | None
) -> None:
    attributes = spanned(request_head(authority=authority), end("request"), *response()).attributes
    assert attributes.get("server.address") == address
    assert attributes.get("server.port") == port


def test_a_span_never_ends_before_it_begins() -> None:
    frames = [request_head(at=9 * MS), end("request", at=3 * MS), response_head(at=MS)]
    found = spanned(*frames, end("response", at=2 * MS))
    assert found.end_ns == found.start_ns


def test_a_witness_without_times_is_no_span() -> None:
    frames = [msgspec.structs.replace(f, time_ns=1 << 70) for f in (*request(), *response())]
    assert span(only(witnessed(*frames))) is None


def test_times_are_read_back_exactly() -> None:
    assert unix_ns("2026-01-12T10:00:00.000000001Z") == NOON + 1
