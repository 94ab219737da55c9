"""Reading the rings where they lie: spans of whole records as views, nothing copied.

A Ring is shared memory of ours (bpf/shared.h): records lie back to back in their own size, so what
is complete leaves as one or two slices, whatever the number of records. A ControlRing is the
kernel's BPF ring buffer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from services.capture import layout
from services.records import RECORD_LENGTH, RECORD_SIZE

_LOOK = struct.Struct("<IHBB")  # a record's length, shard, direction, flags
_LOOKS = 4
_BUSY, _DISCARD, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_RECORD_HEADER = 8


class Ring:
    """One shard's records, or the spare ring's. `peek` until `release`: the views are the ring."""

    def __init__(self, memory: memoryview, size: int) -> None:
        self.words = memory[: layout.RING_HEADER].cast("Q")
        self._data = memory[layout.RING_HEADER :]
        self.size = size
        self._zeros = memoryview(bytes(size + layout.RECORD_ROOM))
        self._held: list[memoryview] = []
        self._next = 0
        self._tail = self.words[layout.TAIL]
        self._discarded = self.words[layout.DISCARDED]

    def waiting(self) -> bool:
        return bool(self.words[layout.HEAD] != self._tail)

    def fill(self) -> int:
        """Bytes that wait to be read."""
        return int(self.words[layout.HEAD] - self._tail)

    def peek(self) -> list[memoryview]:
        """Whole records, in spans that do not wrap."""
        words = self.words
        for _ in range(_LOOKS):
            # In this order: nothing is being written where what is written already was all there
            # is. `wrap` is the kernel's last crossing, and no other can follow before `release`.
            committed = words[layout.COMMITTED]
            head = words[layout.HEAD]
            if committed == head:
                break
        else:
            head = self._complete(head)
        self._held = self._spans(head)
        if self._held and words[layout.DISCARDED] != self._discarded:
            self._discarded = words[layout.DISCARDED]
            return [kept for span in self._held for kept in without_discarded(span)]
        return self._held

    def release(self) -> None:
        """Frees what `peek` gave. It is wiped: a length of zero marks a record still being
        written, and plaintext is not kept."""
        for span in self._held:
            span[:] = self._zeros[: len(span)]
        self._held = []
        self.words[layout.TAIL] = self._tail = self._next

    def _spans(self, head: int) -> list[memoryview]:
        self._next = head
        if head == self._tail:
            return []
        start = self._tail % self.size
        length = head - self._tail
        if start + length < self.size:
            return [self._data[start : start + length]]
        over = self.words[layout.WRAP]
        spans = [self._data[start : self.size + over], self._data[over : head % self.size]]
        return [span for span in spans if len(span)]

    def _complete(self, head: int) -> int:
        """Record by record up to the first that is still being written."""
        position = self._tail
        while position < head:
            (length,) = RECORD_LENGTH.unpack_from(self._data, position % self.size)
            if not length:
                break
            position += RECORD_SIZE + length
        return position


def records(span: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """(start, end, shard, flags) of each record."""
    position, size = 0, len(span)
    while position < size:
        length, shard, _, flags = _LOOK.unpack_from(span, position)
        end = position + RECORD_SIZE + length
        yield position, end, shard, flags
        position = end


def without_discarded(span: memoryview) -> Iterator[memoryview]:
    for start, end, _, flags in records(span):
        if not flags & layout.FLAG_DISCARDED:
            yield span[start:end]


def split(span: memoryview, limit: int) -> Iterator[memoryview]:
    """Pieces of whole records, each at most `limit` bytes (a record is never larger)."""
    if len(span) <= limit:
        yield span
        return
    first, last = 0, 0
    for start, end, _, _ in records(span):
        if end - first > limit:
            yield span[first:start]
            first = start
        last = end
    yield span[first:last]


def by_shard(spans: list[memoryview]) -> dict[int, list[memoryview]]:
    """The spare ring's records, which belong to many shards."""
    found: dict[int, list[memoryview]] = {}
    for span in spans:
        for start, end, shard, _ in records(span):
            found.setdefault(shard, []).append(span[start:end])
    return found


class ControlRing:
    """A BPF ring buffer: u32 length with busy and discard bits, u32 page offset, padded to 8."""

    def __init__(self, consumer: memoryview, producer: memoryview, size: int) -> None:
        self._consumer = consumer.cast("Q")
        self._produced = producer[: layout.PAGE].cast("Q")
        self._data = producer[layout.PAGE :]
        self._mask = size - 1

    def read(self) -> list[bytes]:
        """What is complete; it is consumed."""
        position, produced = self._consumer[0], self._produced[0]
        found = []
        while position < produced:
            at = position & self._mask
            (header,) = RECORD_LENGTH.unpack_from(self._data, at)
            if header & _BUSY:
                break
            length = header & _LENGTH
            start = at + _RECORD_HEADER
            if not header & _DISCARD:
                found.append(bytes(self._data[start : start + length]))
            position += (_RECORD_HEADER + length + 7) & ~7
        self._consumer[0] = position
        return found
