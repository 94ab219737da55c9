"""From the spool to the bus: a window of what is under way, in order, until it is stored.

The window is small, so that what waits is in the spool, which is bounded and gives up the oldest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services import subjects
from services.bus import Bus, Outgoing
from services.capture.parent.accounts import Accounts
from services.capture.parent.batches import Batch
from services.capture.parent.spool import Spool, payload_bytes
from services.publishing import GIVEN_UP

WINDOW = 16 << 20  # bytes that are not stored yet
WAIT_FOR_BUS = 0.1  # seconds between two looks whether it is there again


class Delivery:
    """`accounts` are told of each batch that the bus has, or doesn't take."""

    def __init__(self, bus: Bus, spool: Spool, node: str, accounts: Accounts) -> None:
        self._bus, self._spool, self._node, self._accounts = bus, spool, node, accounts
        self.links: tuple[str, ...] = ()
        self.under_way = 0
        self._sending: Batch | None = None
        self._changed = asyncio.Event()

    def put(self) -> None:
        """Something is in the spool."""
        self._changed.set()

    async def run(self) -> None:
        """For ever. A batch is kept until the bus has taken it: being cancelled loses none."""
        while True:
            await self._until(lambda: bool(self._spool or self._sending))
            await self._until(lambda: self.under_way < WINDOW)
            while not self._bus.connected:  # noqa: ASYNC110  its client has no event for this
                await asyncio.sleep(WAIT_FOR_BUS)
            batch = self._sending = self._sending or self._spool.take()
            await self._publish(batch)
            self._sending = None

    async def flush(self) -> None:
        """Everything that was put is stored."""
        await self._until(lambda: not (self._spool or self._sending or self.under_way))

    async def _publish(self, batch: Batch) -> None:
        size = len(batch.data)

        def stored(sequence: int) -> None:
            self.under_way -= size
            if sequence == GIVEN_UP:
                self._accounts.given_up(batch, payload_bytes(batch))
            else:
                self._accounts.stored(batch)
            self._changed.set()

        subject = subjects.raw(batch.shard, self._node)
        self.under_way += size
        out = Outgoing(subject, batch.data, batch.message_id, self.links)
        await self._bus.publish(out, stored)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._changed.clear()
            await self._changed.wait()
