"""A stage: the messages of each shard, in order, through a fold, to the bus.

The fold is pure: one message in, its own messages out, each with a message id that a replay
repeats. So a stage that starts anew reads its stream from the beginning and publishes what the
server already has: nothing is lost and nothing is there twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from services.bus import Bus, Incoming, Outgoing, destination
from services.cursor import Cursor

Fold = Callable[[Incoming], list[Outgoing]]


@dataclass
class Stage:
    """Every shard of `stream`, each with its own cursor and its own fold."""

    bus: Bus
    stream: str
    subject_of: Callable[[int], str]
    fold_of: Callable[[int], Fold]
    shards: range
    cursors: dict[int, Cursor] = field(default_factory=dict)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set. What was folded is then on its way to the bus."""
        async with asyncio.TaskGroup() as tasks:
            readers = [
                tasks.create_task(self._run_shard(shard), name=f"shard {shard}")
                for shard in self.shards
            ]
            await stopping.wait()
            for reader in readers:
                reader.cancel()

    def counters(self) -> dict[str, int]:
        cursors = [cursor.counters for cursor in self.cursors.values()]
        return {
            "messages_read": sum(c.delivered for c in cursors),
            "consumers_made": sum(c.consumers for c in cursors),
            "messages_not_contiguous": sum(c.not_contiguous for c in cursors),
            "bus_restarts": sum(c.stream_restarts for c in cursors),
        }

    async def _run_shard(self, shard: int) -> None:
        cursor = self.bus.cursor(self.stream, self.subject_of(shard))
        self.cursors[shard] = cursor
        fold, telemetry = self.fold_of(shard), self.bus.telemetry
        async for incoming in cursor:
            with telemetry.processing(destination(incoming.subject), incoming.headers):
                for out in fold(incoming):
                    await self.bus.publish(out)
