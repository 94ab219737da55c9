"""Scans, and publishes what this node's capture should probe.

The full state goes out at once at the start, whenever it changes, and every REPEAT seconds, so that
a reader that came late or a message that expired heals by itself.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from services import subjects
from services.bus import Outgoing
from services.discovery import inventory, system
from services.discovery.code import kernels
from services.discovery.code.probing import Returns
from services.discovery.files import Files
from services.discovery.hints import Hints
from services.discovery.inventory import Reach, Seen
from services.discovery.lately import Lately
from services.discovery.processes import Scan, standing
from services.discovery.settings import Settings
from services.discovery.system import SystemLibraries
from services.messages import ServiceLedger, Sighting, Targets
from services.runtime import Runtime

REPEAT = 30.0  # seconds
PAUSE = 0.05  # seconds at least between two scans
REST = 0.005  # and between two looks at what was sighted


@dataclass
class Discovery:
    settings: Settings
    max_payload: int
    counters: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = Files(self._uretprobes())
        self._scan = Scan(self.files)
        self._system = SystemLibraries()
        self._lately = Lately(self.files.known, system.stays)
        self._standing: list[Reach] = []
        self._seen: dict[int, Seen] = {}

    def _uretprobes(self) -> Returns:
        if self.settings.uretprobes != "auto":
            return Returns(self.settings.uretprobes)
        safe = kernels.uretprobes_are_safe(os.uname().release)
        return Returns.STILL if safe else Returns.NEVER

    def hear(self, sightings: Iterable[Sighting]) -> None:
        """Of processes whose TLS goes over sockets past all probes."""
        self._scan.wired.hear(sightings)

    def look(self) -> Targets:
        """Blocking: the node's state now."""
        begun = time.thread_time_ns()
        paths = [*self.settings.files]
        if self.settings.system_libraries:
            paths += self._system.tls_paths() + self._system.libcrypto_paths()
        self._standing = standing(self.files, paths)
        self._seen = {process.pid: process for process in self._scan.look()}
        return self._state("scan", begun)

    def look_at(self, pids: frozenset[int]) -> Targets:
        """Blocking: the state as last scanned, but for these processes."""
        begun = time.thread_time_ns()
        for pid in pids:
            self._seen.pop(pid, None)
        self._seen |= {process.pid: process for process in self._scan.look(pids)}
        return self._state("look", begun)

    def _state(self, kind: str, begun: int) -> Targets:
        seen = self._seen.values()
        used = [reach for process in seen for reach in process.reaches + process.besides]
        lately = self._lately.unused(used, time.monotonic())
        files = [*self._standing, *lately]
        state = inventory.targets(self.settings.node, time.time_ns(), files, seen)
        self._count(state, kind, time.thread_time_ns() - begun)
        return state

    def _count(self, state: Targets, kind: str, cpu_ns: int) -> None:
        self.counters[f"{kind}s"] = self.counters.get(f"{kind}s", 0) + 1
        self.counters[f"{kind}_cpu_us"] = self.counters.get(f"{kind}_cpu_us", 0) + cpu_ns // 1000
        self.counters["targets"] = len(state.targets)
        self.counters["processes"] = len(state.processes)
        self.counters["processes_uncovered"] = sum(not p.target for p in state.processes)
        self.counters["files_resolved"] = self.files.resolved
        self.counters["files_searched"] = self._scan.search.searched
        self.counters["files_searched_in_part"] = self._scan.search.cut
        self.counters["library_directories_untold"] = self._system.untold
        self.counters["targets_kept"] = len(self._lately)
        self.counters["targets_kept_evicted"] = self._lately.evicted
        self.counters["wired_evicted"] = self._scan.wired.evicted

    def message(self, state: Targets) -> bytes:
        """As one message of the bus; what finds no room in it is counted."""
        told = inventory.fitting(state, self.max_payload)
        self.counters["processes_untold"] = told.untold_processes
        self.counters["targets_untold"] = told.untold_targets
        return msgspec.json.encode(told)

    def ledger(self) -> ServiceLedger:
        return ServiceLedger(service="discovery", node=self.settings.node, counters=self.counters)


async def publish_changes(running: Runtime, discovery: Discovery, hints: Hints) -> None:
    published: Targets | None = None
    pids: frozenset[int] | None = None
    due = 0.0
    while True:
        discovery.hear(hints.wired())
        discovery.counters["wired_dropped"] = hints.wired_dropped
        if pids is None:
            due = time.monotonic() + discovery.settings.interval
            state = await asyncio.to_thread(discovery.look)
        else:
            state = await asyncio.to_thread(discovery.look_at, pids)
        if inventory.is_news(published, state, int(REPEAT * 1e9)):
            payload = discovery.message(state)
            await running.bus.publish(Outgoing(subjects.targets(state.node), payload))
            published = state
        await asyncio.sleep(PAUSE if pids is None else REST)
        pids = await hints.wait(due)
