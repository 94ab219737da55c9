"""One round in the child: where in the rings records lie, and what the control ring says.

Synchronous. The order matters: data first, then control, so that every record's connection is
opened in the same round or an earlier one.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable

from services.capture import connections, rings
from services.capture.channel import SPARE, Looked, Pulse, Read, Span
from services.capture.child.loaded import Kernel
from services.capture.child.owners import Owners
from services.capture.connections import Connections, News
from services.capture.layout import Counts
from services.capture.rings import Found
from services.messages import Container, ShardTotals

NAMED_A_TICK = 500

Spans = dict[int, list[tuple[int, tuple[Span, ...]]]]


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Looker:
    def __init__(self, kernel: Kernel, node: str) -> None:
        self.kernel, self.memory = kernel, kernel.memory
        self._owners = Owners()
        self.connections = Connections(node, self._owners.of)
        self.size = 0  # of the last round, in bytes
        self.canaries: list[bytes] = []  # that came, for whoever sent them

    def waiting(self) -> bool:
        ready = any(ring.waiting() for ring in self.memory.shard_rings)
        return ready or self.memory.spare_ring.waiting()

    def look(self, *, pulse: Pulse | None = None, answers: int = 0, final: bool = False) -> Looked:
        """Everything that came since the last round. One with a pulse is a tick."""
        totals = self._totals(everyone=pulse is not None)
        spans, reads = self._rings()
        news: dict[int, News] = defaultdict(News)
        now = boot_ns()
        self.connections.receive(self._control_events(), news, self._take, now)
        if pulse is not None:
            self._tails(news)
            self.connections.name_again(news, now, NAMED_A_TICK)
        for shard in {*spans, *news} - totals.keys():
            totals[shard] = self.memory.totals(shard)
        return Looked(
            boot_ns=now, reads=tuple(reads), news=news, totals=totals,
            answers=answers, pulse=pulse, final=final,
            spans={shard: tuple(found) for shard, found in spans.items()},
            live=len(self.connections),
            shed=self.connections.shed() if pulse is not None else {},
            users=self.connections.users() if pulse is not None else {},
        )  # fmt: skip

    def learn(self, containers: Iterable[Container]) -> None:
        """What their engines say of them."""
        self._owners.known = {container.id: container for container in containers}
        self.connections.learn(self._owners.known)

    def _totals(self, *, everyone: bool) -> dict[int, ShardTotals]:
        """Read before the records, so that none is in the totals and not in the rings."""
        everyone = everyone or self.memory.spare_ring.waiting()
        rings = enumerate(self.memory.shard_rings)
        return {n: self.memory.totals(n) for n, ring in rings if everyone or ring.waiting()}

    def _rings(self) -> tuple[Spans, list[Read]]:
        spans: Spans = defaultdict(list)
        reads = []
        for shard, ring in enumerate(self.memory.shard_rings):
            if ring.waiting():
                found = ring.look()
                self.canaries += found.canaries
                reads.append(Read(shard, tuple(found.freed), found.next))
                if found.kept:
                    spans[shard].append((shard, tuple(found.kept)))
        if self.memory.spare_ring.waiting():
            reads.append(self._spare(spans, self.memory.spare_ring.look()))
        self.size = sum(length for read in reads for _, length in read.freed)
        return spans, reads

    def _spare(self, spans: Spans, found: Found) -> Read:
        for shard, own in rings.by_shard(self.memory.spare_ring, found.kept).items():
            spans[shard].append((SPARE, tuple(own)))
        return Read(SPARE, tuple(found.freed), found.next)

    def _control_events(self) -> list[bytes]:
        main, spare = (ring.read() for ring in self.kernel.control_rings)
        # Identities are unique, so that opens may all go first where two rings mix their order.
        return sorted(main + spare, key=lambda event: event[0]) if spare else main

    def _take(self, ssl: int, tgid: int) -> tuple[int, Counts] | None:
        entry = self.kernel.take_connection(ssl, tgid)
        return (entry.connection, entry.counts) if entry else None

    def _tails(self, news: dict[int, News]) -> None:
        for connection, shard, counts in self.kernel.take_tails():
            news[shard].tails += connections.tails(connection, counts)
