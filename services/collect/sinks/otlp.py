"""Exports each witness as a span over OTLP/HTTP, in batches, behind a bounded queue.

Made only where an OTLP endpoint is set; nothing of OpenTelemetry is imported before. The standard
OTEL_* variables say where to and how. Knows the SDK's types, not what a span should say.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from functools import lru_cache

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from services.collect import spans
from services.messages import Source, Witness

BATCH = 512
PAUSE = 0.5  # seconds in which a batch gathers
EXPORT_FOR = 2.0  # seconds for one batch, attempts included: a service stops within 5
DRAIN_FOR = 2.0

_SCOPE = InstrumentationScope("plainwire")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_KINDS = {"client": SpanKind.CLIENT, "server": SpanKind.SERVER}


class OtlpSink:
    def __init__(self, queue: int) -> None:
        self._waiting: deque[spans.Span] = deque()
        self._most = queue
        self._arrived = asyncio.Event()
        self._exporter = OTLPSpanExporter(timeout=EXPORT_FOR)
        self._exported = self._dropped = self._failed = self._unsampled = 0
        self._exporting = 0

    def offer(self, witness: Witness) -> None:
        """A stream in parts is one span, at its end."""
        if not witness.final:
            return
        span = spans.span(witness)
        if span is None:
            self._unsampled += 1
        elif len(self._waiting) >= self._most:
            self._dropped += 1
        else:
            self._waiting.append(span)
            self._arrived.set()

    def counters(self) -> dict[str, int]:
        return {
            "spans_exported": self._exported,
            "spans_dropped": self._dropped,
            "spans_failed": self._failed,
            "spans_unsampled": self._unsampled,
            "spans_waiting": len(self._waiting),
        }

    async def run(self, stopping: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._wake_at(stopping), name="otlp wake")
                await self._export_until(stopping)
            async with asyncio.timeout(DRAIN_FOR):
                while self._waiting:
                    await self._export_batch()
        except TimeoutError:
            self._dropped += self._exporting + len(self._waiting)
            self._exporting = 0
            self._waiting.clear()
        finally:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    async def _wake_at(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._arrived.set()

    async def _export_until(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await self._arrived.wait()
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), PAUSE)
            while self._waiting and not stopping.is_set():
                await self._export_batch()

    async def _export_batch(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        self._exporting = len(batch)
        result = await asyncio.to_thread(self._export, batch)
        if result is SpanExportResult.SUCCESS:
            self._exported += len(batch)
        else:
            self._failed += len(batch)
        self._exporting = 0

    def _export(self, batch: Sequence[spans.Span]) -> SpanExportResult:
        return self._exporter.export(readable(batch))


def readable(batch: Sequence[spans.Span]) -> list[ReadableSpan]:
    return [_readable(span) for span in batch]


def _readable(span: spans.Span) -> ReadableSpan:
    parent = None
    if span.parent_span_id is not None:
        parent = SpanContext(span.trace_id, span.parent_span_id, is_remote=True)
    return ReadableSpan(
        name=span.name,
        context=SpanContext(span.trace_id, span.span_id, is_remote=False, trace_flags=_SAMPLED),
        parent=parent,
        resource=_resource(span.source),
        attributes=span.attributes,
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )


@lru_cache(maxsize=4096)
def _resource(source: Source) -> Resource:
    """The workload is the service, not Plainwire that watched it."""
    attributes: dict[str, str | int] = {
        "service.name": source.workload or source.process or "unknown",
        "service.namespace": source.namespace,
        "host.name": source.node,
    }
    if source.pod:
        attributes |= {"k8s.namespace.name": source.namespace, "k8s.pod.name": source.pod}
    if source.container:
        attributes["k8s.container.name"] = source.container
    if source.pid:
        attributes["process.pid"] = source.pid
    if source.process:
        attributes["process.executable.name"] = source.process
    return Resource(attributes)
