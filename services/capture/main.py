"""Wires capture. The child that probes is started before anything else: it takes longest."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from typing import TYPE_CHECKING

from services.capture.channel import Begin, Shape
from services.capture.layout import Verdict
from services.capture.parent import allowances
from services.capture.parent.life import Life
from services.capture.settings import Settings

if TYPE_CHECKING:
    from services.runtime import Runtime

MIB, KIB = 1 << 20, 1 << 10


def main(settings: Settings) -> int:
    try:
        classes, _ = allowances.classes(map(allowances.parse, settings.workloads))
    except ValueError as error:
        sys.stderr.write(f"plainwire capture: {error}\n")
        return 1
    begin = Begin(
        rings=shape(settings),
        parent=os.getpid(),
        pids=settings.pids,
        exclude_pids=settings.exclude_pids,
        node=settings.node,
        classes=allowances.numbers(classes),
    )
    life = Life(begin)
    from services import runtime  # slow to import: the child compiles meanwhile

    async def body(given: Runtime) -> None:
        await capture(given, settings, begin, life)

    try:
        return runtime.run("capture", settings, body)
    finally:
        life.kill()


def shape(settings: Settings) -> Shape:
    half = settings.ring_mib * MIB // 2
    return Shape(
        shards=settings.shards,
        shard_ring=power_of_two(settings.shard_ring_kib * KIB or half // settings.shards),
        spare_ring=power_of_two(settings.spare_ring_kib * KIB or half),
        connections=settings.connections,
        salt=salt(settings.node),
        default=Verdict.EXCLUDE if settings.pids else Verdict.INCLUDE,
    )


def power_of_two(size: int) -> int:
    """The largest that is not above `size`, at least a page."""
    return 1 << (max(size, 4 * KIB).bit_length() - 1)


def salt(node: str) -> int:
    """64 bits of the node and this boot."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    digest = hashlib.blake2b(f"{node}/{boot}/{os.getpid()}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


async def capture(given: Runtime, settings: Settings, begin: Begin, life: Life) -> None:
    from services.capture.parent.service import Service

    work = Service(given, settings, begin)
    await work.follow_on()
    given.describe(work.ledger)
    given.health.check("targets", work.problem)
    await given.endpoint("tick", work.tick)
    await given.endpoint("ready", work.ready)
    async with asyncio.TaskGroup() as tasks:
        budget = tasks.create_task(work.budget.run(), name="budget")
        lives = tasks.create_task(work.supervisor.run(life), name="lives")
        loops = [
            tasks.create_task(loop(), name=loop.__qualname__)
            for loop in (
                work.delivery.run,
                work.follow_targets,
                work.telling.run,
                work.sights.run,
                work.sockets.run,
            )
        ]
        await given.stopping.wait()
        work.supervisor.stop()
        await lives
        await work.delivery.flush()
        for task in (*loops, budget):
            task.cancel()
