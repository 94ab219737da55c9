"""OpenTelemetry at one address: a span for each publication and each message processed.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT (or its traces form) is set, and then nothing of the SDK is
even imported. Spans carry subjects without ids, never anything of a payload.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link

TRACEPARENT = "traceparent"
EXPORT_WITHIN = 2.0  # seconds
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SYSTEM = {"messaging.system": "nats"}


class Telemetry:
    """What a service does when nobody listens: nothing."""

    def publishing(
        self, destination: str, headers: dict[str, str], links: Sequence[str] = ()
    ) -> AbstractContextManager[None]:
        """A producer span; `headers` gets its traceparent. `links` are traceparents."""
        return nullcontext()

    def processing(
        self, destination: str, headers: Mapping[str, str], links: Sequence[str] = ()
    ) -> AbstractContextManager[None]:
        """A consumer span, child of the traceparent in `headers`."""
        return nullcontext()

    def close(self) -> None:
        """Exports what is left."""


class Tracing(Telemetry):
    """Exports over OTLP/HTTP, batched in the background by the SDK."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("plainwire")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def publishing(
        self, destination: str, headers: dict[str, str], links: Sequence[str] = ()
    ) -> Iterator[None]:
        from opentelemetry.trace import SpanKind

        with self._tracer.start_as_current_span(
            f"{destination} publish",
            kind=SpanKind.PRODUCER,
            links=self._links(links),
            attributes={
                **_SYSTEM,
                "messaging.destination.name": destination,
                "messaging.operation.type": "send",
                "messaging.operation.name": "publish",
            },
        ):
            self._propagator.inject(headers)
            yield

    @contextmanager
    def processing(
        self, destination: str, headers: Mapping[str, str], links: Sequence[str] = ()
    ) -> Iterator[None]:
        from opentelemetry.trace import SpanKind

        with self._tracer.start_as_current_span(
            f"{destination} process",
            context=self._propagator.extract(headers),
            kind=SpanKind.CONSUMER,
            links=self._links(links),
            attributes={
                **_SYSTEM,
                "messaging.destination.name": destination,
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
            },
        ):
            yield

    def close(self) -> None:
        self._provider.shutdown()

    def _links(self, traceparents: Sequence[str]) -> list[Link]:
        from opentelemetry.trace import Link, get_current_span

        contexts = [self._propagator.extract({TRACEPARENT: t}) for t in traceparents]
        return [Link(get_current_span(context).get_span_context()) for context in contexts]


def start(service: str, node: str, version: str) -> Telemetry:
    """Telemetry as the standard OTEL_* variables have it."""
    if not enabled():
        return Telemetry()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create(
        {
            "service.name": f"plainwire-{service}",
            "service.version": version,
            "service.instance.id": f"{node}/{os.getpid()}",
            "host.name": node,
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # A receiver that does not answer must not hold up a service that is told to stop.
    timeout = min(EXPORT_WITHIN, float(os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT", "inf")))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=timeout)))
    return Tracing(provider)


def enabled() -> bool:
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(os.environ.get(name) for name in _ENDPOINTS)
