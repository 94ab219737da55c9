"""A look of the child as batches in the spool: the records are copied here, once, out of the rings.

Synchronous. Knows shared memory and batches, not the child.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from services.capture.channel import Looked, Read
from services.capture.connections import News
from services.capture.memory import Memory
from services.capture.parent.batches import Batch, Batches, Reading
from services.capture.parent.clock import Anchor
from services.capture.parent.spool import Spool

ANCHOR_EVERY = 10  # ticks


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Reader:
    """Of one life of the child. `given_up` is told what the spool had to drop."""

    def __init__(
        self, memory: Memory, batches: Batches, spool: Spool, given_up: Callable[[Batch, int], None]
    ) -> None:
        self.memory, self.batches, self.spool = memory, batches, spool
        self._given_up = given_up
        self.anchor = Anchor(time.time_ns(), boot_ns())
        self.rounds = 0
        self._ticks = 0

    def receive(self, looked: Looked) -> None:
        """Where it is a tick, every active shard gets a batch; the first and the last one are for
        all shards: they end and begin what a node's connections are."""
        self.rounds += 1
        due = self._due(looked)
        reading = Reading(looked.boot_ns, self.anchor.ns, looked.final)
        for shard in sorted({*looked.spans, *looked.news, *due}):
            news = looked.news.get(shard) or News()
            spans = self._views(looked, shard)
            totals = looked.totals[shard]
            for batch in self.batches.build(shard, reading, totals, news, spans):
                for dropped, lost in self.spool.put(batch):
                    self._given_up(dropped, lost)
        self._release(looked.reads)

    def _due(self, looked: Looked) -> list[int]:
        if looked.pulse is None:
            return []
        self._ticks += 1
        if self._ticks % ANCHOR_EVERY == 0:
            self.anchor.measured(time.time_ns(), boot_ns())
        everyone = looked.final or self._ticks == 1
        return [
            n
            for n, totals in sorted(looked.totals.items())
            if everyone or self.batches.is_due(n, totals)
        ]

    def _views(self, looked: Looked, shard: int) -> list[memoryview]:
        return [
            self.memory.ring(number).view(span)
            for number, spans in looked.spans.get(shard, ())
            for span in spans
        ]

    def _release(self, reads: tuple[Read, ...]) -> None:
        for read in reads:
            self.memory.ring(read.ring).release(read.freed, read.next)
