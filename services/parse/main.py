"""Parse as a process: settings, wiring, nothing that decides."""

from __future__ import annotations

import gc

from services import runtime, subjects
from services.parse.limits import SECOND, Limits
from services.parse.parser import Parser
from services.parse.settings import Settings
from services.runtime import Runtime
from services.stage import Stage

# State is plain data in trees: the collector of cycles has nothing to find in it, and would at its
# usual thresholds look through 10,000 connections for a tenth of the time.
COLLECT_AFTER = (20_000, 50, 100)


def main(settings: Settings) -> int:
    gc.set_threshold(*COLLECT_AFTER)

    async def body(service: Runtime) -> None:
        await _parse(service, settings)

    return runtime.run("parse", settings, body)


async def _parse(service: Runtime, settings: Settings) -> None:
    limits = _limits(settings, service.bus.max_payload)
    parser = Parser(limits, runtime.fingerprint("parse", limits))
    stage = Stage(
        service.bus, parser, subjects.RAW, subjects.raw_of_shard, settings.shards, settings.node
    )
    await service.run_stage(stage, parser.ledger)


def _limits(settings: Settings, max_payload: int) -> Limits:
    return Limits(
        body=settings.body_kib * 1024,
        head=settings.head_kib * 1024,
        connections=settings.connections,
        shard_buffered=settings.buffered_mib * 1024 * 1024,
        idle_ns=settings.idle_minutes * 60 * SECOND,
        shard_pending=settings.pending_mib * 1024 * 1024,
        piece_bytes=max_payload,
    )
