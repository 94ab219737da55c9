"""Discovery as a process: settings, wiring, nothing that decides."""

from __future__ import annotations

import asyncio

from nats.aio.msg import Msg

from services import runtime, subjects
from services.discovery import scanning
from services.discovery.hints import Hints
from services.discovery.settings import Settings
from services.runtime import Runtime


def main(settings: Settings) -> int:
    async def body(running: Runtime) -> None:
        await _discover(running, settings)

    return runtime.run("discovery", settings, body)


async def _discover(running: Runtime, settings: Settings) -> None:
    discovery = scanning.Discovery(settings, running.bus.max_payload)
    running.describe(discovery.ledger)
    hints = Hints()

    async def sighted(message: Msg) -> None:
        hints.hear(message.data)

    subject = subjects.sightings(settings.node)
    await running.bus.client.subscribe(subject, cb=sighted)
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(scanning.publish_changes(running, discovery, hints), name="scan")
        await running.stopping.wait()
        work.cancel()
