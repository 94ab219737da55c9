"""Both directions of connections as the kernel would tell them, delivered to parse in many ways.

`deliver` is the default assertion: a transcript gives the same frames whole, byte by byte and in
random pieces, and its ledger adds up each time.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from services.messages import (
    AnyFrame,
    BodyFrame,
    Closed,
    Direction,
    Final,
    FrameBatch,
    GrpcFrame,
    Losses,
    OpaqueFrame,
    Opened,
    RawHead,
    ShardTotals,
    Source,
)
from services.parse import shard
from services.parse.limits import Limits
from services.parse.shard import ShardState
from services.records import Record

NODE, CONNECTION = "node-1", 7
SOURCE = Source(node=NODE, namespace="host", workload="curl", pid=1)
EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS
Transcript = Sequence[tuple[Direction, bytes]]


class Kernel:
    """What the kernel counts for one shard of a node, and the batches that it makes of it."""

    def __init__(self, state: ShardState | None = None) -> None:
        self.state = state or ShardState(shard=0)
        self.epoch, self.counter, self.now, self.lowest = 1, 0, 1_000, 1
        self.seen, self.lost = 0, Losses()
        self.offsets: dict[tuple[int, Direction], int] = {}
        self.losses: dict[tuple[int, Direction], Losses] = {}

    def record(self, direction: Direction, data: bytes, connection: int = CONNECTION) -> Record:
        key = (connection, direction)
        offset = self.offsets.get(key, 0)
        self.offsets[key] = offset + len(data)
        self.seen += len(data)
        self.now += 1
        lost = self.losses.get(key, Losses())
        return Record(connection, direction, 0, offset, self.now, lost, memoryview(data))

    def lose(
        self,
        direction: Direction,
        size: int,
        connection: int = CONNECTION,
        reason: str = "ring_full",
    ) -> None:
        key = (connection, direction)
        self.offsets[key] = self.offsets.get(key, 0) + size
        self.seen += size
        self.losses[key] = _more(self.losses.get(key, Losses()), reason, size)
        self.lost = _more(self.lost, reason, size)

    def final(self, direction: Direction, connection: int = CONNECTION) -> Final:
        key = (connection, direction)
        return Final(offset=self.offsets.get(key, 0), lost=self.losses.get(key, Losses()))

    def opened(self, connection: int = CONNECTION, *, joined: bool = False) -> Opened:
        return Opened(
            connection=connection, source=SOURCE, first_boot_ns=self.now, mid_connection=joined
        )

    def closed(self, connection: int = CONNECTION, reason: str = "freed") -> Closed:
        self.now += 1
        return Closed(
            connection=connection,
            boot_ns=self.now,
            egress=self.final(EGRESS, connection),
            ingress=self.final(INGRESS, connection),
            reason=reason,
        )

    def head(self, **changes: object) -> RawHead:
        self.counter += 1
        values: dict[str, object] = {
            "node": NODE,
            "epoch": self.epoch,
            "shard": 0,
            "counter": self.counter,
            "lowest_held": max(self.lowest, self.counter),
            "boot_ns": self.now,
            "anchor_ns": 10**18,
            "totals": ShardTotals(
                seen_bytes=self.seen, submitted_bytes=self.seen - self.lost.total(), lost=self.lost
            ),
        }
        return RawHead(**(values | changes))  # type: ignore[arg-type]

    def batch(self, *records: Record, **changes: object) -> list[AnyFrame]:
        """Folds one batch; the frames that came out, its tick left out."""
        return frames_of(shard.receive(self.state, self.head(**changes), list(records)))

    def tick(self, seconds: float = 0.0) -> list[AnyFrame]:
        self.now += int(seconds * 1e9)
        return self.batch()


def frames_of(batches: Iterable[FrameBatch]) -> list[AnyFrame]:
    return [frame for batch in batches for frame in batch.frames if frame.connection]


def deliver(
    transcript: Transcript, *, joined: bool = False, limits: Limits | None = None
) -> list[AnyFrame]:
    """The frames of a connection that is opened, speaks and closes; the same however it is cut."""
    whole = converse(transcript, joined=joined, limits=limits)
    if not joined:  # where joining is proven depends on where records begin
        assert converse(_cut(transcript, lambda _: 1), joined=joined, limits=limits) == whole
        for seed in range(5):
            sizes = random.Random(seed)
            cut = _cut(transcript, lambda _, sizes=sizes: sizes.randint(1, 40))
            assert converse(cut, joined=joined, limits=limits) == whole
    return whole


def cut_at(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    pieces, position = [], 0
    for size in sizes:
        if position >= len(data):
            break
        pieces.append(data[position : position + max(size, 1)])
        position += max(size, 1)
    return [*pieces, data[position:]] if position < len(data) else pieces


def joined_bodies(frames: Iterable[AnyFrame]) -> list[AnyFrame]:
    """Pieces of bodies and of opaque bytes put together, as their borders follow the records'."""
    found: list[AnyFrame] = []
    opaque: Counter[tuple[Direction, str]] = Counter()
    for frame in frames:
        at = len(found) - 1
        while at > 0 and isinstance(found[at], GrpcFrame):  # its bytes are counted around it
            at -= 1
        last = found[at] if found else None
        if isinstance(frame, BodyFrame) and isinstance(last, BodyFrame) and _continues(last, frame):
            found[at] = msgspec.structs.replace(
                last, size=last.size + frame.size, data=last.data + frame.data
            )
        elif isinstance(frame, OpaqueFrame):
            opaque[frame.direction, frame.protocol] += frame.bytes
        else:
            found.append(frame)
    return found + [
        OpaqueFrame(
            connection=CONNECTION, time_ns=0, direction=direction, protocol=protocol, bytes=size
        )
        for (direction, protocol), size in sorted(opaque.items())
    ]


def restored(state: ShardState) -> ShardState:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ShardState)


def converse(transcript: Transcript, *, joined: bool, limits: Limits | None) -> list[AnyFrame]:
    kernel = Kernel(ShardState(shard=0, limits=limits or Limits()))
    frames = kernel.batch(opened=(kernel.opened(joined=joined),))
    now = kernel.now
    for direction, data in transcript:
        cut = isinstance(data, list)
        now += 1000
        for piece in data if cut else [data]:
            record = kernel.record(direction, piece)._replace(boot_ns=now)
            frames += kernel.batch(record)
    kernel.now = now + 1000
    frames += kernel.batch(closed=(kernel.closed(),))
    assert_exact(kernel.state)
    assert shard.ledger(kernel.state).in_flight == 0
    assert shard.ledger(kernel.state).seen == kernel.seen
    return joined_bodies(frames)


def assert_exact(state: ShardState) -> None:
    sums = shard.ledger(state)
    assert sums.in_flight >= 0
    assert sums.seen == (
        sums.parsed + sums.opaque + sum(sums.gaps.values()) + sums.shed + sums.in_flight
    )


def _cut(transcript: Transcript, size_of: object) -> Transcript:
    return [
        (direction, cut_at(data, (size_of(0) for _ in data)))  # type: ignore[operator, misc]
        for direction, data in transcript
    ]


def _continues(last: BodyFrame, frame: BodyFrame) -> bool:
    return (last.connection, last.stream, last.side, last.offset + last.size) == (
        frame.connection,
        frame.stream,
        frame.side,
        frame.offset,
    ) and last.time_ns == frame.time_ns


def _more(losses: Losses, reason: str, size: int) -> Losses:
    return msgspec.structs.replace(losses, **{reason: (getattr(losses, reason) + size) % 2**32})
