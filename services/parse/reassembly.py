"""One direction of a connection in the order of its bytes, and which of them are missing.

Knows offsets and what the kernel says it lost; knows no protocol and no clock. Of the bytes below
offset O exactly O - L will ever arrive, L being what the kernel had lost before O: so a hole below
O is a gap where L explains it, and else data that is still under way and is awaited.
"""

from __future__ import annotations

from bisect import insort_right
from collections.abc import Iterator
from operator import attrgetter

from msgspec import Struct

from services.messages import KERNEL_LOSS_REASONS, Final, Losses
from services.records import LOST_MODULUS, Record

_BEHIND = LOST_MODULUS >> 1
_SEGMENT = 128  # about what a segment takes besides its bytes, so that tiny ones are bounded too


class Segment(Struct, frozen=True, array_like=True):
    """Bytes that arrived ahead of others; without bytes it is a mark: how far the kernel got."""

    offset: int
    boot_ns: int
    lost: Losses
    payload: bytes = b""

    def __repr__(self) -> str:
        return f"Segment({self.offset}+{len(self.payload)})"


class Hole(Struct, frozen=True, array_like=True):
    """Bytes that are known to be missing, by reason."""

    offset: int
    losses: tuple[tuple[str, int], ...]

    def size(self) -> int:
        return sum(size for _, size in self.losses)

    def parts(self, offset: int) -> Iterator[tuple[int, str, int]]:
        """(offset, reason, bytes) of each part, counted from `offset`."""
        for reason, size in self.losses:
            yield offset, reason, size
            offset += size


class Flow(Struct, gc=False):
    """`next` is the offset up to which all is handed on or declared missing; `lost` is what the
    kernel had lost up to there. `pending_bytes` is what the segments take."""

    next: int = 0
    lost: Losses = Losses()
    pending: list[Segment] = []
    pending_bytes: int = 0
    mark: Segment | None = None


def insert(flow: Flow, record: Record) -> None:
    segment = Segment(record.offset, record.boot_ns, record.lost, bytes(record.payload))
    insort_right(flow.pending, segment, key=attrgetter("offset"))
    flow.pending_bytes += len(segment.payload) + _SEGMENT


def mark(flow: Flow, final: Final, boot_ns: int) -> None:
    """Told by a tail or a close; a mark farther on replaces one that is nearer."""
    if flow.mark is None or final.offset >= flow.mark.offset:
        flow.mark = Segment(final.offset, boot_ns, final.lost)


def waits(flow: Flow) -> bool:
    """Something is known beyond `next`, so bytes in between are missing or under way."""
    return bool(flow.pending) or flow.mark is not None


def advance(flow: Flow) -> Segment | Hole | None:
    """The next thing that is certain, or None. Call until None."""
    while (first := _first(flow)) is not None:
        if first.offset > flow.next:
            return _explain(flow, first)
        segment = _take(flow, first)
        if segment is not None:
            return segment
    return None


def give_up(flow: Flow, reason: str) -> Hole | None:
    """Declares the first hole missing, for `reason` where the kernel gives none."""
    first = _first(flow)
    if first is None or first.offset <= flow.next:
        return None
    losses = _explained(flow.lost, first.lost)
    return _declare(flow, first, (*losses, (reason, first.offset - flow.next)))


def late(flow: Flow, segment: Segment) -> int:
    """How many of its bytes lie below `next`: declared missing before, or there already."""
    return min(max(flow.next - segment.offset, 0), len(segment.payload))


def _first(flow: Flow) -> Segment | None:
    if not flow.pending:
        return flow.mark
    first = flow.pending[0]
    return flow.mark if flow.mark is not None and flow.mark.offset < first.offset else first


def _take(flow: Flow, first: Segment) -> Segment | None:
    """Removes what begins at or below `next`; what is new in it is handed on by the caller."""
    if first.offset == flow.next:
        flow.lost = first.lost
    if first is flow.mark:
        flow.mark = None
        return None
    del flow.pending[0]
    flow.pending_bytes -= len(first.payload) + _SEGMENT
    return first


def _explain(flow: Flow, first: Segment) -> Hole | None:
    losses = _explained(flow.lost, first.lost)
    if first.offset - flow.next > sum(size for _, size in losses):
        return None
    return _declare(flow, first, losses)


def _declare(flow: Flow, first: Segment, losses: tuple[tuple[str, int], ...]) -> Hole:
    """The hole's bytes go to the reasons in order until they are used up."""
    left, parts = first.offset - flow.next, []
    for reason, size in losses:
        part = min(size, left)
        if part:
            parts.append((reason, part))
            left -= part
    hole = Hole(flow.next, tuple(parts))
    flow.next, flow.lost = first.offset, first.lost
    return hole


def _explained(before: Losses, after: Losses) -> tuple[tuple[str, int], ...]:
    """Counters are modulo 2**32; one that seems to have gone back explains nothing."""
    return tuple(
        (reason, difference)
        for reason in KERNEL_LOSS_REASONS
        if 0
        < (difference := (getattr(after, reason) - getattr(before, reason)) % LOST_MODULUS)
        < _BEHIND
    )
