"""Batches in the order of their counters, though the bus may have stored them in another: what it
refuses for a moment (a stream without a leader) is sent again, behind what was sent later.

A missing counter that its sender had not seen stored when it sent this batch may still come, and is
awaited; any other was stored before this batch, so that it would have been read by now: it is lost.
Knows counters; what a batch means is `pairing`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

from services import records
from services.collect.state import ShardState
from services.messages import FrameBatch


def in_order(state: ShardState, batch: FrameBatch, behind: int) -> Iterator[FrameBatch]:
    """Those that are to be folded now, each after the one before is. Of the `behind` batches before
    this one any may still be on its way; none where it is 0."""
    if batch.counter in state.held:
        state.count("batches_duplicate")
        return
    if _awaits_earlier(state, batch, behind):
        _hold(state, batch)
        if len(state.held) <= state.limits.held_batches and (
            state.held_bytes <= state.limits.held_bytes
        ):
            return
        state.count("held_overflows")
        yield from release(state)
        return
    if batch.counter > state.counter:
        yield from _upto(state, batch.counter)
    before = state.counter
    yield batch
    if state.counter < before:  # a parse that begins anew: what is held has its former numbers
        yield from release(state)
    yield from _upto(state, state.counter)


def release(state: ShardState) -> Iterator[FrameBatch]:
    """All that are held, whatever is missing between them."""
    yield from _upto(state, max(state.held, default=0))


def _awaits_earlier(state: ShardState, batch: FrameBatch, behind: int) -> bool:
    first = max(state.counter + 1, batch.counter - behind)
    return any(counter not in state.held for counter in range(first, batch.counter))


def _hold(state: ShardState, batch: FrameBatch) -> None:
    packed = records.encode_frames(batch)
    state.held[batch.counter] = packed
    state.held_bytes += len(packed)
    state.count("batches_held")


def _upto(state: ShardState, counter: int) -> Iterator[FrameBatch]:
    """Those up to this counter, and then those that are next in order."""
    for held in sorted(state.held):
        if held > max(counter, state.counter + 1):
            return
        packed = state.held.pop(held)
        state.held_bytes -= len(packed)
        yield records.decode_frames(packed)
