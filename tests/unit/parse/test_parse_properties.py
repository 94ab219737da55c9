"""What holds for any traffic: however it is cut, ordered, lost, mangled, restored in between."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.messages import AnyFrame, BodyFrame, Direction, EndFrame, GapFrame, Opened
from services.parse import dialogue, shard
from services.parse.limits import Limits
from services.parse.shard import ShardState
from services.records import Record
from tests.support.strategies import (
    EXCHANGES,
    SIZES,
    TRANSCRIPTS,
    http1_transcripts,
    mangled,
)
from tests.support.wire import (
    CONNECTION,
    EGRESS,
    Kernel,
    assert_exact,
    converse,
    cut_at,
    joined_bodies,
    restored,
)


def _cut(transcript: list[tuple[Direction, bytes]], sizes: list[int]) -> list[object]:
    return [(direction, cut_at(data, sizes)) for direction, data in transcript]


@given(TRANSCRIPTS, SIZES)
def test_any_split_gives_the_same_frames(transcript, sizes):
    whole = converse(transcript, joined=False, limits=None)
    assert converse(_cut(transcript, sizes), joined=False, limits=None) == whole


def _read(records: list[Record], kernel: Kernel) -> list[AnyFrame]:
    frames = kernel.batch(opened=(Opened(
        connection=CONNECTION, source=kernel.opened().source, first_boot_ns=1),))  # fmt: skip
    return frames + kernel.batch(*records) + kernel.batch(closed=(kernel.closed(),))


@given(TRANSCRIPTS, st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_frames(transcript, random):
    """Within a batch: the kernel's times and offsets tell what came first."""
    kernel = Kernel()
    records = [kernel.record(direction, data) for direction, data in transcript]
    ordered = _read(records, kernel)
    other = Kernel()
    shuffled = [other.record(direction, data) for direction, data in transcript]
    random.shuffle(shuffled)
    assert _read(shuffled, other) == ordered


@given(EXCHANGES, st.randoms(use_true_random=False))
def test_records_may_arrive_in_any_batch(transcript, random):
    """As after a busy ring: whole exchanges come out, and in the end nothing is in flight."""
    kernel = Kernel()
    records = [kernel.record(direction, data) for direction, data in transcript]
    random.shuffle(records)
    frames = kernel.batch(opened=(kernel.opened(),))
    for record in records:
        frames += kernel.batch(record)
    frames += kernel.batch(closed=(kernel.closed(),))
    assert_exact(kernel.state)
    assert shard.ledger(kernel.state).in_flight == 0
    assert not shard.ledger(kernel.state).gaps
    sides = [frame.side for frame in frames if isinstance(frame, EndFrame)]
    assert sides.count("request") == sides.count("response") > 0


@given(TRANSCRIPTS, SIZES, st.data())
def test_restoring_the_state_anywhere_changes_nothing(transcript, sizes, data):
    plain, restarted = Kernel(), Kernel()
    for kernel in (plain, restarted):
        kernel.batch(opened=(kernel.opened(),))
    for direction, piece in [(d, p) for d, whole in transcript for p in cut_at(whole, sizes)]:
        records = [kernel.record(direction, piece) for kernel in (plain, restarted)]
        if data.draw(st.booleans()):
            restarted.state = restored(restarted.state)
        assert plain.batch(records[0]) == restarted.batch(records[1])
    assert restored(plain.state) == restarted.state
    assert plain.tick(20) == restarted.tick(20)


@given(mangled() | st.lists(st.tuples(st.sampled_from(Direction), st.binary(max_size=80))), SIZES)
def test_mangled_bytes_never_raise_and_never_outgrow_the_limits(transcript, sizes):
    kernel = Kernel(ShardState(shard=0, limits=Limits(head=300, body=50, streams=3, waiting=2)))
    kernel.batch(opened=(kernel.opened(),))
    for direction, piece in [(d, p) for d, whole in transcript for p in cut_at(whole, sizes)]:
        frames = kernel.batch(kernel.record(direction, piece))
        assert all(
            f.offset + len(f.data) <= 50 for f in frames if isinstance(f, BodyFrame) and f.data
        )
        assert_exact(kernel.state)
        for connection in kernel.state.table.connections.values():
            assert dialogue.held(connection.dialogue) < 40_000
    kernel.tick(2)
    kernel.batch(closed=(kernel.closed(),))
    assert_exact(kernel.state)
    assert shard.ledger(kernel.state).in_flight == 0


FATES = st.sampled_from(["now", "now", "now", "later", "lost", "batch_lost"])


@given(TRANSCRIPTS, SIZES, st.data())
def test_the_ledger_is_exact_under_any_loss(transcript, sizes, data):
    kernel, later = Kernel(), []
    frames = kernel.batch(opened=(kernel.opened(),))
    for direction, piece in [(d, p) for d, whole in transcript for p in cut_at(whole, sizes)]:
        fate = data.draw(FATES)
        if fate == "lost":
            kernel.lose(
                direction, len(piece), reason=data.draw(st.sampled_from(["ring_full", "shed"]))
            )
        elif fate == "later":
            later.append(kernel.record(direction, piece))
        elif fate == "batch_lost":
            kernel.record(direction, piece)
            kernel.head()
        else:
            frames += kernel.batch(kernel.record(direction, piece))
            if data.draw(st.booleans()):  # and once more at the end: what came is late then
                frames += kernel.batch(*later)
        assert_exact(kernel.state)
    frames += kernel.tick(data.draw(st.integers(0, 15)))
    frames += kernel.batch(*later, closed=(kernel.closed(),))
    frames += kernel.tick(20) + kernel.tick(20)
    assert_exact(kernel.state)
    sums = shard.ledger(kernel.state)
    assert (sums.in_flight, sums.seen) == (0, kernel.seen)
    _joins_nothing_across_a_gap(frames)


def _joins_nothing_across_a_gap(frames: list[AnyFrame]) -> None:
    """Body pieces of a side neither overlap nor cover a gap."""
    ends: dict[tuple[int, str], int] = {}
    for frame in joined_bodies(frames):
        if isinstance(frame, GapFrame) and frame.part.endswith(".body"):
            key = (frame.stream or 0, frame.part.removesuffix(".body"))
        elif isinstance(frame, BodyFrame):
            key = (frame.stream, frame.side)
        else:
            continue
        size = frame.bytes if isinstance(frame, GapFrame) else frame.size
        assert frame.offset >= ends.get(key, 0)
        ends[key] = frame.offset + size


@given(http1_transcripts(), st.integers(0, 2000), st.integers(1, 200))
def test_content_after_a_gap_is_the_senders(transcript, at, size):
    """One gap in the requests: each body byte that is told stands where the sender put it."""
    sent = b"".join(data for direction, data in transcript if direction == EGRESS)
    whole = [
        frame for frame in converse([(EGRESS, sent)], joined=False, limits=None)
        if isinstance(frame, BodyFrame)
    ]  # fmt: skip
    bodies = {frame.stream: frame.data for frame in whole}
    kernel = Kernel()
    kernel.batch(opened=(kernel.opened(),))
    frames = kernel.batch(kernel.record(EGRESS, sent[:at])) if sent[:at] else []
    kernel.lose(EGRESS, len(sent[at : at + size]))
    if sent[at + size :]:
        frames += kernel.batch(kernel.record(EGRESS, sent[at + size :]))
    if "resynchronised" in kernel.state.counters:
        return  # ordinals count what was seen, not what was sent
    for frame in frames:
        if isinstance(frame, BodyFrame):
            stop = frame.offset + frame.size
            assert bodies[frame.stream][frame.offset : stop] == frame.data
