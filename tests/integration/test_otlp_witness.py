"""The OTLP sink against a real receiver on a socket: what arrives, what is dropped and counted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

import pytest

from services.collect.sinks.otlp import OtlpSink
from services.messages import Witness
from tests.support import otlp
from tests.support.workload import ROOT
from tests.unit.collect.transcript import (
    MS,
    NOON,
    SECOND,
    end,
    grpc_message,
    opened,
    request,
    request_head,
    response,
    response_head,
    shard,
    tick,
    told,
    witnessed,
)

DEADLINE = 10


def witnesses(count: int) -> list[Witness]:
    return [
        witness for n in range(count) for witness in witnessed(*request(n + 1), *response(n + 1))
    ]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.01)


def test_nothing_of_opentelemetry_is_imported_where_nobody_listens() -> None:
    program = "import sys, services.collect.main; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


async def test_a_witness_arrives_as_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    (witness,) = witnessed(
        request_head(), end("request"), response_head(at=3 * MS), end("response", at=5 * MS)
    )
    stopping = asyncio.Event()
    with otlp.receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        sink = OtlpSink(queue=10)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sink.run(stopping))
            sink.offer(witness)
            await until(lambda: bool(receiver.spans))
            stopping.set()
    (span,) = receiver.spans
    assert (span.service, span.name, span.kind) == ("cart", "GET", 3)
    assert (span.trace_id, span.span_id) == (witness.trace.trace_id, witness.trace.span_id)
    assert (span.start_ns, span.end_ns) == (NOON, NOON + 5 * MS)
    assert span.attributes["http.response.status_code"] == 200
    assert sink.counters()["spans_exported"] == 1


async def test_a_stream_in_parts_is_one_span_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    head = request_head(
        method="POST", path="/a.B/C", headers=(("content-type", "application/grpc"),)
    )
    parts = told(
        shard(), opened(), head, end("request"), response_head(at=MS), grpc_message(b"x"),
        tick(6 * SECOND), end("response", at=7 * SECOND, trailers=(("grpc-status", "0"),)),
    )  # fmt: skip
    assert [part.final for part in parts] == [False, True]
    stopping = asyncio.Event()
    with otlp.receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        sink = OtlpSink(queue=10)
        for part in parts:
            sink.offer(part)
        stopping.set()
        await sink.run(stopping)
    (span,) = receiver.spans
    assert (span.name, span.start_ns, span.end_ns) == ("a.B/C", NOON, NOON + 7 * SECOND)
    assert (span.attributes["rpc.system"], span.attributes["rpc.grpc.status_code"]) == ("grpc", 0)


async def test_what_waits_is_exported_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = asyncio.Event()
    stopping.set()
    with otlp.receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        sink = OtlpSink(queue=2000)
        for witness in witnesses(1200):
            sink.offer(witness)
        await sink.run(stopping)
    assert len(receiver.spans) == 1200
    assert sink.counters()["spans_exported"] == 1200


async def test_what_finds_no_room_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    sink = OtlpSink(queue=3)
    for witness in witnesses(5):
        sink.offer(witness)
    assert (sink.counters()["spans_waiting"], sink.counters()["spans_dropped"]) == (3, 2)
    stopping = asyncio.Event()
    stopping.set()
    async with asyncio.timeout(DEADLINE):
        await sink.run(stopping)
    left = sink.counters()
    assert left["spans_exported"] == 0
    assert left["spans_failed"] + left["spans_dropped"] == 5
