"""Reading the rings where they lie: spans of whole records, nothing copied.

A Ring is shared memory of ours (bpf/shared.h): records lie back to back in their own size, so what
is complete leaves as one or two slices, whatever the number of records. A ControlRing is the
kernel's BPF ring buffer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from services.capture import layout
from services.capture.channel import Span
from services.records import RECORD_LENGTH, RECORD_SIZE

_LOOK = struct.Struct("<IHBB")  # a record's length, shard, direction, flags
_LOOKS = 4
_BUSY, _DISCARD, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_RECORD_HEADER = 8


@dataclass(frozen=True, slots=True)
class Found:
    """Whole records, in spans that do not wrap; `freed` has those too that are left out, and ends
    at the position `next`. `canaries` are what the reader's own canary said."""

    kept: list[Span]
    freed: list[Span]
    next: int
    canaries: list[bytes] = field(default_factory=list)


class Ring:
    """One shard's records, or the spare ring's. `look` tells of each once; what was told stays
    until `release`, which may be called in another process that has the memory too."""

    def __init__(self, memory: memoryview, size: int) -> None:
        self.words = memory[: layout.RING_HEADER].cast("Q")
        self._data = memory[layout.RING_HEADER :]
        self.size = size
        self._zeros = memoryview(bytes(layout.RECORD_ROOM))
        self._told = self.words[layout.TAIL]
        self._discarded = self.words[layout.DISCARDED]

    def waiting(self) -> bool:
        return bool(self.words[layout.HEAD] != self._told)

    def fill(self) -> int:
        """Bytes that were not told of yet."""
        return int(self.words[layout.HEAD] - self._told)

    def look(self) -> Found:
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
        freed = self._spans(head)
        self._told = head
        if freed and words[layout.DISCARDED] != self._discarded:
            self._discarded = words[layout.DISCARDED]
            found = Found([], freed, head)
            for span in freed:
                self._sort_out(span, found)
            return found
        return Found(freed, freed, head)

    def view(self, span: Span) -> memoryview:
        start, length = span
        return self._data[start : start + length]

    def release(self, freed: Iterable[Span], following: int) -> None:
        """Frees what `look` told of. It is wiped: a length of zero marks a record still being
        written, and plaintext is not kept."""
        step = len(self._zeros)
        for start, length in freed:
            for at in range(start, start + length, step):
                end = min(at + step, start + length)
                self._data[at:end] = self._zeros[: end - at]
        self.words[layout.TAIL] = following

    def _spans(self, head: int) -> list[Span]:
        if head == self._told:
            return []
        start = self._told % self.size
        length = head - self._told
        if start + length < self.size:
            return [(start, length)]
        over = self.words[layout.WRAP]
        spans = [(start, self.size + over - start), (over, head % self.size - over)]
        return [span for span in spans if span[1] > 0]

    def _sort_out(self, span: Span, found: Found) -> None:
        view = self.view(span)
        for start, end, _, flags in records(view):
            if flags & layout.FLAG_CANARY:
                found.canaries.append(bytes(view[start + RECORD_SIZE : end]))
            elif not flags & layout.FLAG_DISCARDED:
                found.kept.append((span[0] + start, end - start))

    def _complete(self, head: int) -> int:
        """Record by record up to the first that is still being written."""
        position = self._told
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


def by_shard(ring: Ring, spans: Iterable[Span]) -> dict[int, list[Span]]:
    """The spare ring's records, which belong to many shards."""
    found: dict[int, list[Span]] = {}
    for first, length in spans:
        for start, end, shard, _ in records(ring.view((first, length))):
            found.setdefault(shard, []).append((first + start, end - start))
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
