"""One request is followed by its spans: through the pipeline's hops, and into the application's own
trace. Spans arrive over OTLP on a socket, as a collector would get them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.support import leftovers, otlp, pipeline, plans, workload
from tests.support.otlp import Receiver, Span
from tests.support.pipeline import Stored

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
UNSAMPLED = "5bf92f3577b34da6a3ce929d0e0e4737"
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5


class Followed(NamedTuple):
    receiver: Receiver
    stored: list[Stored]


def _request(name: str, *headers: tuple[str, str]) -> plans.Planned:
    return plans.Planned(
        name, "GET", f"/hello/{name}?secret=1", [("x-request-id", name), *headers], b""
    )


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    """Three requests: in a sampled trace, in one that is not sampled, in none."""
    folder = tmp_path_factory.mktemp("traces")
    planned = [
        _request("traced", ("traceparent", f"00-{TRACE}-{PARENT}-01")),
        _request("unsampled", ("traceparent", f"00-{UNSAMPLED}-{PARENT}-00")),
        _request("plain"),
    ]
    with leftovers.none_left("traces"), otlp.receiving() as receiver:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with (
            pipeline.running(folder / "line", **settings) as line,
            workload.serving(folder) as server,
        ):
            workload.start_client("http_client", server, folder, planned).finished()
            line.settle()
            stored = line.witnesses()
        yield Followed(receiver, stored)  # services have ended, so all spans are here


def _stored(followed: Followed, name: str, role: str) -> Stored:
    (found,) = (
        s
        for s in followed.stored
        if s.witness.role == role and pipeline.request_id(s.witness) == name
    )
    return found


def _parent_of(spans: list[Span], span: Span) -> Span:
    (found,) = (s for s in spans if s.span_id == span.parent_id)
    return found


def test_a_witness_is_followed_back_to_the_publication_of_its_target(followed: Followed) -> None:
    stored = _stored(followed, "traced", "client")
    _, trace_id, span_id, _ = stored.headers["traceparent"].split("-")
    spans = [s for s in followed.receiver.spans if s.trace_id == trace_id]
    (published,) = (s for s in spans if s.span_id == span_id)

    hops = [published]
    while hops[-1].parent_id:
        hops.append(_parent_of(spans, hops[-1]))

    assert [(s.service, s.name, s.kind) for s in hops] == [
        ("plainwire-collect", "plainwire.witnesses publish", PRODUCER),
        ("plainwire-collect", "plainwire.frames process", CONSUMER),
        ("plainwire-parse", "plainwire.frames publish", PRODUCER),
        ("plainwire-parse", "plainwire.raw process", CONSUMER),
        ("plainwire-capture", "plainwire.raw publish", PRODUCER),
    ]
    targets = followed.receiver.named("discovery", "plainwire.targets publish")
    assert set(hops[-1].links) & {(s.trace_id, s.span_id) for s in targets}


@pytest.mark.parametrize(("role", "kind"), [("client", CLIENT), ("server", SERVER)])
def test_the_exchange_is_a_span_in_the_applications_trace(
    role: str, kind: int, followed: Followed
) -> None:
    witness = _stored(followed, "traced", role).witness
    (span,) = (s for s in followed.receiver.spans if s.trace_id == TRACE and s.kind == kind)

    assert span.parent_id == PARENT
    assert (witness.trace.trace_id, witness.trace.span_id) == (TRACE, span.span_id)
    assert span.name == "GET"
    assert span.attributes["http.request.method"] == "GET"
    assert span.attributes["http.response.status_code"] == 200
    assert "secret" not in str(span.attributes)
    assert 0 < span.end_ns - span.start_ns < 10_000_000_000


def test_a_trace_that_is_not_sampled_gets_no_span(followed: Followed) -> None:
    assert not [s for s in followed.receiver.spans if s.trace_id == UNSAMPLED]
    assert _stored(followed, "unsampled", "client").witness.trace.trace_id == UNSAMPLED


def test_a_request_without_a_trace_gets_one_of_its_own(followed: Followed) -> None:
    trace = _stored(followed, "plain", "client").witness.trace
    (span,) = (s for s in followed.receiver.spans if s.span_id == trace.span_id)
    assert (span.trace_id, span.kind, span.parent_id) == (trace.trace_id, CLIENT, "")
