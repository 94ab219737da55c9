"""What the parent keeps of processes that were seen to speak TLS on the wire. Pure.

Those that ended are kept for a while: who asks what was missed may come when all is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.capture.channel import OnWire
from services.lifetimes import KEPT_NS, is_same_start
from services.messages import CoverageEntry, Sighting, TlsProcess

MAX_FACTS = 4096
SIGHT_AFTER_NS = 1_000_000_000  # again, and twice as long after each further time
SIGHT_AT_LEAST_NS = 32_000_000_000
MAX_PATH = 4096  # what is longer opens no file


@dataclass(slots=True)
class Fact:
    told: OnWire
    since_ns: int
    rule: str  # by which it is excluded, as long as it lived
    ended_ns: int = 0
    entry: CoverageEntry | None = None  # as it was told while it lived
    sight_at_ns: int = 0  # again, where nobody has named it
    sight_pause_ns: int = SIGHT_AFTER_NS


class Facts:
    def __init__(self) -> None:
        self.by_pid: dict[int, Fact] = {}
        self.evicted = 0

    def hear(self, found: Iterable[OnWire], rule: Callable[[int], str], now_ns: int) -> None:
        for told in found:
            known = self.by_pid.pop(told.pid, None)
            same = known is not None and known.told.start_boot_ns == told.start_boot_ns
            since = known.since_ns if known and same else now_ns
            entry = known.entry if known and same else None
            due = now_ns + SIGHT_AFTER_NS
            self.by_pid[told.pid] = Fact(told, since, rule(told.pid), 0, entry, due)
        while len(self.by_pid) > MAX_FACTS:
            del self.by_pid[next(iter(self.by_pid))]
            self.evicted += 1

    def check(self, is_alive: Callable[[int, int], bool], now_ns: int) -> None:
        """`is_alive` is asked of a process by pid and start."""
        for pid, fact in list(self.by_pid.items()):
            if fact.ended_ns:
                if now_ns - fact.ended_ns > KEPT_NS:
                    del self.by_pid[pid]
            elif not is_alive(pid, fact.told.start_boot_ns):
                fact.ended_ns = now_ns

    def remember(self, entries: Iterable[CoverageEntry]) -> None:
        for entry in entries:
            fact = self.by_pid.get(entry.pid)
            if fact is not None and not fact.ended_ns and not entry.pending:
                fact.entry = entry

    def unnamed(self, named: Iterable[TlsProcess], now_ns: int) -> tuple[Sighting, ...]:
        """Sightings that are due, of those that discovery has not named yet."""
        if not self.by_pid:
            return ()
        known = {process.pid: process for process in named if process.seen_on_wire}
        found = list[Sighting]()
        for pid, fact in self.by_pid.items():
            if pid in known and is_same(known[pid], fact):
                fact.sight_pause_ns, fact.sight_at_ns = SIGHT_AFTER_NS, 0
            elif fact.sight_at_ns <= now_ns:
                fact.sight_at_ns = now_ns + fact.sight_pause_ns
                fact.sight_pause_ns = min(2 * fact.sight_pause_ns, SIGHT_AT_LEAST_NS)
                found.append(sighting(fact.told))
        return tuple(found)


def sighting(told: OnWire) -> Sighting:
    return Sighting(
        pid=told.pid,
        kind="tls_on_wire",
        start_boot_ns=told.start_boot_ns,
        process=told.process,
        executable=told.executable if len(told.executable) <= MAX_PATH else "",
    )


def is_same(process: TlsProcess, fact: Fact) -> bool:
    return is_same_start(process.start_boot_ns, fact.told.start_boot_ns)
