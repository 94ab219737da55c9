"""What all lives of the child have seen, and where it is: each life with its epoch's batches.

Knows sums and acknowledgements; no bus, no child.
"""

from __future__ import annotations

from services.capture.parent import sums as totals
from services.capture.parent.batches import Batch, Batches
from services.capture.parent.reading import Reader
from services.capture.parent.sums import Sums
from services.messages import BytesLedger


class Accounts:
    """`reader` is that of the life that goes on."""

    def __init__(self) -> None:
        self.reader: Reader | None = None
        self._ended: dict[int, tuple[Batches, Sums]] = {}  # by epoch: some is still to be stored
        self._before = Sums()  # of those and of older ones
        self._before_bytes = BytesLedger()  # of the older ones

    def began(self, reader: Reader) -> None:
        self.reader = reader

    def ended(self) -> None:
        if self.reader is not None:
            own = _sums(self.reader)
            batches = self.reader.batches
            self._ended[batches.epoch] = batches, own
            self._before = self._before.plus(own)
            self.reader = None

    def stored(self, batch: Batch) -> None:
        if batches := self._batches(batch.epoch):
            batches.stored(batch)

    def given_up(self, batch: Batch, payload_bytes: int) -> None:
        if batches := self._batches(batch.epoch):
            batches.given_up(batch, payload_bytes)

    def _batches(self, epoch: int) -> Batches | None:
        if self.reader is not None and epoch == self.reader.batches.epoch:
            return self.reader.batches
        return self._ended[epoch][0] if epoch in self._ended else None

    def sums(self) -> Sums:
        return self._before.plus(_sums(self.reader)) if self.reader else self._before

    def bytes(self) -> BytesLedger:
        """What the bus has, what is lost and what is under way, of everything that was seen."""
        for epoch, (batches, sums) in list(self._ended.items()):
            if not batches.are_held():
                del self._ended[epoch]
                own = _ledger(batches, sums, ended=True)
                self._before_bytes = totals.joined(self._before_bytes, own)
        found = self._before_bytes
        for batches, sums in self._ended.values():
            found = totals.joined(found, _ledger(batches, sums, ended=False))
        if self.reader is not None:
            own = _ledger(self.reader.batches, _sums(self.reader), ended=False)
            found = totals.joined(found, own)
        return found


def _sums(reader: Reader) -> Sums:
    return totals.total(reader.memory.totals(n) for n in range(len(reader.batches.shards)))


def _ledger(batches: Batches, sums: Sums, *, ended: bool) -> BytesLedger:
    return totals.ledger(sums, batches.stored_bytes(), batches.lost_bytes(), ended=ended)
