"""Wires capture: a child compiles while the bus is being reached, then the loops run."""

from __future__ import annotations

import asyncio

from services import runtime
from services.capture import processes, service
from services.capture.kernel import Loading, Shape
from services.capture.loaded import Kernel
from services.capture.settings import Settings
from services.runtime import Runtime

MIB, KIB = 1 << 20, 1 << 10


def main(settings: Settings) -> int:
    rings = shape(settings)
    loading = Loading(rings)

    async def body(given: Runtime) -> None:
        descriptors = await asyncio.to_thread(loading.wait)
        await capture(given, settings, Kernel(rings, descriptors))

    return runtime.run("capture", settings, body)


def shape(settings: Settings) -> Shape:
    half = settings.ring_mib * MIB // 2
    return Shape(
        shards=settings.shards,
        shard_ring=power_of_two(settings.shard_ring_kib * KIB or half // settings.shards),
        spare_ring=power_of_two(settings.spare_ring_kib * KIB or half),
        connections=settings.connections,
        salt=service.salt(settings.node),
        default=processes.default_verdict(settings),
    )


def power_of_two(size: int) -> int:
    """The largest that is not above `size`, at least a page."""
    return 1 << (max(size, 4 * KIB).bit_length() - 1)


async def capture(given: Runtime, settings: Settings, loaded: Kernel) -> None:
    await asyncio.to_thread(processes.enter, loaded, settings)
    work = service.Service(given, settings, loaded, service.new_epoch())
    given.describe(work.ledger)
    given.health.check("targets", work.problem)
    await given.endpoint("tick", work.tick)
    await given.endpoint("ready", work.ready)
    async with asyncio.TaskGroup() as tasks:
        loops = [
            tasks.create_task(loop(), name=loop.__name__)
            for loop in (
                work.read_rings, work.publish_batches, work.follow_targets, work.repeat_coverage,
            )
        ]  # fmt: skip
        await given.stopping.wait()
        for task in loops:
            task.cancel()
    await work.stop()
