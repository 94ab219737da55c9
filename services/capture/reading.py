"""One round: what the rings hold, what the control ring says, as batches into the spool.

Synchronous. The order matters: data first, then control, so that every record's connection is
opened in the same batch or an earlier one.
"""

from __future__ import annotations

import time
from collections import defaultdict

from services.capture import connections, layout, rings
from services.capture.batches import Batches, Reading
from services.capture.clock import Anchor
from services.capture.connections import Connections, News
from services.capture.layout import Counts
from services.capture.loaded import Kernel
from services.capture.spool import Spool
from services.messages import Losses, ShardTotals

NAMED_A_TICK = 500


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Reader:
    def __init__(self, kernel: Kernel, batches: Batches, spool: Spool) -> None:
        self.kernel, self.batches, self.spool = kernel, batches, spool
        self.connections = Connections(batches.node)
        self.anchor = Anchor(time.time_ns(), boot_ns())
        self.rounds = 0

    def waiting(self) -> bool:
        ready = any(ring.waiting() for ring in self.kernel.shard_rings)
        return ready or self.kernel.spare_ring.waiting()

    def fill(self) -> float:
        """The fullest shard ring's share."""
        return max(ring.fill() / ring.size for ring in self.kernel.shard_rings)

    def read(self, *, due: set[int] | None = None, final: bool = False) -> int:
        """Reads everything; shards in `due` get a batch even if it is empty. Returns bytes."""
        self.rounds += 1
        kernel = self.kernel
        data = {n: ring.peek() for n, ring in enumerate(kernel.shard_rings) if ring.waiting()}
        spare = rings.by_shard(kernel.spare_ring.peek()) if kernel.spare_ring.waiting() else {}
        news: dict[int, News] = defaultdict(News)
        now = boot_ns()
        self.connections.receive(self._control_events(), news, self._take, now)
        if due is not None:
            self._tails(news)
            self.connections.name_again(news, now, NAMED_A_TICK)
        reading = Reading(now, self.anchor.ns, final)
        size = 0
        for shard in sorted({*data, *spare, *news, *(due or ())}):
            spans = data.get(shard, []) + spare.get(shard, [])
            size += sum(map(len, spans))
            built = self.batches.build(shard, reading, self.totals(shard), news[shard], spans)
            for batch in built:
                for dropped, lost in self.spool.put(batch):
                    self.batches.given_up(dropped, lost)
        for shard in data:
            kernel.shard_rings[shard].release()
        if spare:
            kernel.spare_ring.release()
        return size

    def measure_clocks(self) -> None:
        self.anchor.measured(time.time_ns(), boot_ns())

    def totals(self, shard: int) -> ShardTotals:
        words = self.kernel.shard_rings[shard].words
        lost = words[layout.LOST : layout.LOST + layout.REASONS].tolist()
        return ShardTotals(
            seen_bytes=words[layout.SEEN_BYTES],
            seen_records=words[layout.SEEN_RECORDS],
            submitted_bytes=words[layout.SUBMITTED_BYTES],
            lost=Losses(*lost),
            connections=words[layout.CONNECTIONS],
        )

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
