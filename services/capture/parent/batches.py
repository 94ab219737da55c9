"""Raw batches out of spans and news: counters per shard, heads, sizes, ticks.

Pure: knows neither rings nor NATS. What is here is what parse will believe, so every batch carries
the totals as they were when the rings were read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from services.capture import rings
from services.capture.connections import News
from services.messages import RawHead, ShardTotals
from services.records import encode_raw

# A head's items take less than this each, names included.
_ITEM_BYTES = 512
_HEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """One encoded batch; `submitted` is what its shard's ring had been given when it was built."""

    epoch: int
    shard: int
    counter: int
    message_id: str
    data: bytes
    submitted: int

    def __repr__(self) -> str:
        return f"Batch({self.message_id}, {len(self.data)} bytes)"


@dataclass(frozen=True, slots=True)
class Reading:
    """What was true when the rings were read."""

    boot_ns: int
    anchor_ns: int
    final: bool = False


@dataclass(slots=True)
class Shard:
    """`active` once it ever had a connection, also one that was shed from its beginning and is in
    the totals alone; its ticks never stop then. `held` are the counters of the batches that the bus
    has not stored yet, in order."""

    counter: int = 0
    active: bool = False
    held: dict[int, None] = field(default_factory=dict)
    lost_bytes: int = 0
    submitted: int = 0  # up to the last batch that is stored or given up

    def lowest_held(self) -> int:
        """Whatever is below is stored, or given up."""
        return next(iter(self.held), self.counter + 1)


def has_begun(totals: ShardTotals) -> bool:
    return bool(totals.connections or totals.seen_bytes)


class Batches:
    def __init__(self, node: str, epoch: int, shards: int, limit: int) -> None:
        self.node, self.epoch = node, epoch
        self.shards = [Shard() for _ in range(shards)]
        self._limit = limit

    def build(
        self, shard: int, reading: Reading, totals: ShardTotals, news: News, spans: list[memoryview]
    ) -> list[Batch]:
        """At least one batch: an empty one is a tick. `news` goes out first, and is emptied."""
        state = self.shards[shard]
        state.active = state.active or bool(news.opened or spans) or has_begun(totals)
        pieces = list(self._pieces(spans))
        built: list[Batch] = []
        while not built or pieces or news:
            head = self._head(shard, reading, totals, self._take(news))
            built.append(self._batch(head, self._fill(pieces, news)))
        return built

    def is_due(self, shard: int, totals: ShardTotals) -> bool:
        """Whether a tick has anything to say of it."""
        return self.shards[shard].active or has_begun(totals)

    def _pieces(self, spans: list[memoryview]) -> Iterator[memoryview]:
        for span in spans:
            yield from rings.split(span, self._limit // 2)

    def _take(self, news: News) -> News:
        """As much of the news as fits a quarter of a message; opens before closes."""
        most = max(1, self._limit // 4 // _ITEM_BYTES)
        taken = News(news.opened[:most])
        del news.opened[:most]
        room = most - len(taken.opened)
        if not news.opened and room:
            taken.tails, news.tails = news.tails[:room], news.tails[room:]
            room -= len(taken.tails)
            taken.closed, news.closed = news.closed[:room], news.closed[room:]
        return taken

    def _fill(self, pieces: list[memoryview], news: News) -> list[memoryview]:
        """Records wait until every open connection is named: they may be of any of them."""
        if news.opened:
            return []
        size, count = 0, 0
        room = self._limit * 3 // 4 - _HEAD_BYTES
        while count < len(pieces) and size + len(pieces[count]) <= room:
            size += len(pieces[count])
            count += 1
        taken = pieces[:count]
        del pieces[:count]
        return taken

    def _head(self, shard: int, reading: Reading, totals: ShardTotals, news: News) -> RawHead:
        state = self.shards[shard]
        state.counter += 1
        state.held[state.counter] = None
        return RawHead(
            node=self.node, epoch=self.epoch, shard=shard, counter=state.counter,
            lowest_held=state.lowest_held(), boot_ns=reading.boot_ns,
            anchor_ns=reading.anchor_ns, totals=totals, opened=tuple(news.opened),
            closed=tuple(news.closed), tails=tuple(news.tails), final=reading.final,
            spool_lost_bytes=state.lost_bytes,
        )  # fmt: skip

    def _batch(self, head: RawHead, spans: list[memoryview]) -> Batch:
        identity = f"{head.node}/{head.epoch}/{head.shard}/{head.counter}"
        data, submitted = encode_raw(head, spans), head.totals.submitted_bytes
        return Batch(head.epoch, head.shard, head.counter, identity, data, submitted)

    def stored(self, batch: Batch) -> None:
        """The bus has it."""
        state = self.shards[batch.shard]
        state.held.pop(batch.counter, None)
        state.submitted = max(state.submitted, batch.submitted)

    def given_up(self, batch: Batch, payload_bytes: int) -> None:
        """The spool had no room for it; its records held so many bytes."""
        self.stored(batch)
        self.shards[batch.shard].lost_bytes += payload_bytes

    def are_held(self) -> bool:
        return any(state.held for state in self.shards)

    def stored_bytes(self) -> int:
        """Payload that the bus has, of what was built up to the last acknowledgement."""
        return sum(state.submitted - state.lost_bytes for state in self.shards)

    def lost_bytes(self) -> int:
        return sum(state.lost_bytes for state in self.shards)
