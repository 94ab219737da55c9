"""Collect as a process: settings, wiring, nothing that decides."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services import runtime, subjects, telemetry
from services.collect.collector import Collector
from services.collect.settings import Settings
from services.collect.sinks import Sink
from services.collect.state import SECOND_NS, Limits
from services.runtime import Runtime
from services.stage import Stage


def main(settings: Settings) -> int:
    async def body(service: Runtime) -> None:
        await _collect(service, settings)

    return runtime.run("collect", settings, body)


async def _collect(service: Runtime, settings: Settings) -> None:
    sinks = _sinks(settings)
    limits = _limits(settings)
    collector = Collector(
        limits, service.bus.max_payload, sinks, runtime.fingerprint("collect", limits)
    )
    stage = Stage(
        service.bus, collector, subjects.FRAMES, subjects.frames, settings.shards, settings.node
    )
    async with asyncio.TaskGroup() as tasks:
        for sink in sinks:
            tasks.create_task(sink.run(service.stopping), name="sink")
        await service.run_stage(stage, collector.ledger)


def _limits(settings: Settings) -> Limits:
    return Limits(
        body_bytes=settings.body_kib * 1024,
        wait_ns=int(settings.wait_seconds * SECOND_NS),
        part_ns=int(settings.part_seconds * SECOND_NS),
        part_messages=settings.part_messages,
        streams=settings.streams,
        stream_wait_ns=int(settings.stream_wait_seconds * SECOND_NS),
        exchanges=settings.exchanges,
        connections=settings.connections,
        buffered_bytes=settings.buffered_mib * 1024 * 1024,
    )


def _sinks(settings: Settings) -> Sequence[Sink]:
    """Nothing of OpenTelemetry is imported where nobody listens."""
    if not telemetry.enabled():
        return ()
    from services.collect.sinks.otlp import OtlpSink

    return (OtlpSink(settings.span_queue),)
