"""Batches that NATS has not taken yet: bounded, the oldest given up first and counted.

Pure.
"""

from __future__ import annotations

from collections import deque

from services.capture.parent.batches import Batch
from services.records import decode_raw


class Spool:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._batches: deque[Batch] = deque()
        self.bytes = 0
        self.dropped_batches = 0
        self.dropped_bytes = 0

    def __len__(self) -> int:
        return len(self._batches)

    def put(self, batch: Batch) -> list[tuple[Batch, int]]:
        """What had to be given up for it, with the payload bytes in each."""
        self._batches.append(batch)
        self.bytes += len(batch.data)
        dropped = []
        while self.bytes > self._limit and len(self._batches) > 1:
            oldest = self.take()
            lost = payload_bytes(oldest)
            self.dropped_batches += 1
            self.dropped_bytes += lost
            dropped.append((oldest, lost))
        return dropped

    def take(self) -> Batch:
        batch = self._batches.popleft()
        self.bytes -= len(batch.data)
        return batch


def payload_bytes(batch: Batch) -> int:
    _, records = decode_raw(batch.data)
    return sum(len(record.payload) for record in records)
