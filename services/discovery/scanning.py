"""Scans, and publishes what this node's capture should probe.

The full state goes out at once at the start, whenever it changes, and every REPEAT seconds, so that
a reader that came late or a message that expired heals by itself.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field

import msgspec

from services import subjects
from services.bus import Outgoing
from services.discovery import inventory, kernels
from services.discovery.files import Files
from services.discovery.probing import Returns
from services.discovery.processes import Scan, standing
from services.discovery.settings import Settings
from services.discovery.system import SystemLibraries
from services.messages import ServiceLedger, Targets
from services.runtime import Runtime

REPEAT = 30.0  # seconds
PAUSE = 0.05  # seconds at least between two scans, however many sightings come


@dataclass
class Discovery:
    settings: Settings
    max_payload: int
    counters: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = Files(self._uretprobes())
        self._scan = Scan(self.files)
        self._system = SystemLibraries()

    def _uretprobes(self) -> Returns:
        if self.settings.uretprobes != "auto":
            return Returns(self.settings.uretprobes)
        safe = kernels.uretprobes_are_safe(os.uname().release)
        return Returns.STILL if safe else Returns.NEVER

    def look(self) -> Targets:
        """Blocking: the node's state now."""
        begun = time.thread_time_ns()
        paths = [*self.settings.files]
        if self.settings.system_libraries:
            paths += self._system.libssl_paths()
        state = inventory.targets(
            self.settings.node, time.time_ns(), standing(self.files, paths), self._scan.look()
        )
        self._count(state, time.thread_time_ns() - begun)
        return state

    def _count(self, state: Targets, cpu_ns: int) -> None:
        self.counters["scans"] = self.counters.get("scans", 0) + 1
        self.counters["scan_cpu_us"] = self.counters.get("scan_cpu_us", 0) + cpu_ns // 1000
        self.counters["targets"] = len(state.targets)
        self.counters["processes"] = len(state.processes)
        self.counters["processes_uncovered"] = sum(not p.target for p in state.processes)
        self.counters["files_resolved"] = self.files.resolved

    def message(self, state: Targets) -> bytes:
        """As one message of the bus; processes that find no room in it are counted."""
        told = inventory.fitting(state, self.max_payload)
        self.counters["processes_untold"] = len(state.processes) - len(told.processes)
        return msgspec.json.encode(told)

    def ledger(self) -> ServiceLedger:
        return ServiceLedger(service="discovery", node=self.settings.node, counters=self.counters)


async def publish_changes(running: Runtime, discovery: Discovery, sighted: asyncio.Event) -> None:
    published: Targets | None = None
    while True:
        sighted.clear()
        state = await asyncio.to_thread(discovery.look)
        if inventory.is_news(published, state, int(REPEAT * 1e9)):
            payload = discovery.message(state)
            await running.bus.publish(Outgoing(subjects.targets(state.node), payload))
            published = state
        await asyncio.sleep(PAUSE)
        try:
            async with asyncio.timeout(discovery.settings.interval):
                await sighted.wait()
        except TimeoutError:
            pass
