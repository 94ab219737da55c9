"""What capture books of a batch that the bus will never take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from services.bus import Bus, Outgoing
from services.capture.parent import delivering
from services.capture.parent.accounts import Accounts
from services.capture.parent.batches import Batch
from services.capture.parent.delivering import Delivery
from services.capture.parent.spool import Spool
from services.publishing import GIVEN_UP

BATCH = Batch(1, 0, 1, "n/1/0/1", b"data", 10)


class FakeBus:
    connected = True

    def __init__(self, sequence: int) -> None:
        self._sequence = sequence

    async def publish(self, _: Outgoing, stored: Callable[[int], None]) -> None:
        stored(self._sequence)


class Booked:
    def __init__(self) -> None:
        self.had = list[tuple[Batch, int | None]]()

    def stored(self, batch: Batch) -> None:
        self.had.append((batch, None))

    def given_up(self, batch: Batch, payload_bytes: int) -> None:
        self.had.append((batch, payload_bytes))


@pytest.mark.parametrize(("sequence", "lost"), [(7, None), (GIVEN_UP, 4)])
async def test_a_batch_is_stored_or_booked_as_lost_and_waited_for_no_more(
    monkeypatch: pytest.MonkeyPatch, sequence: int, lost: int | None
) -> None:
    monkeypatch.setattr(delivering, "payload_bytes", lambda batch: len(batch.data))
    booked, spool = Booked(), Spool(1000)
    bus, accounts = cast("Bus", FakeBus(sequence)), cast("Accounts", booked)
    delivery = Delivery(bus, spool, "n", accounts)
    spool.put(BATCH)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(delivery.run())
        await delivery.flush()
        running.cancel()
    assert booked.had == [(BATCH, lost)]
    assert delivery.under_way == 0
