"""The raw batch as it lies on the bus, and the record that the kernel writes into it.

A batch is an envelope (magic, kind, version), a length-prefixed msgpack head and records. A record
is one fixed little-endian header and its payload, exactly as the kernel wrote them: capture moves
slices, it does not re-encode. `capture/bpf/record.h` is the same header in C; a test compares them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

import msgspec

from services.messages import Direction, FrameBatch, Losses, NodeSilent, RawHead

MAGIC = b"PW"
VERSION = 2


class Kind(IntEnum):
    RAW = 1
    FRAMES = 2
    DECISION = 3  # what a clock has to tell, as input among input


class MalformedBatch(ValueError):
    """The bytes are no batch of ours. The text never quotes them."""


# u32 length of the payload · u16 shard · u8 direction · u8 flags · u64 connection
# u64 offset · u64 boot time ns · u32 lost bytes by reason, cumulative, modulo 2**32 · 4 unused
RECORD = struct.Struct("<IHBBQQQ5I4x")
RECORD_SIZE = RECORD.size
RECORD_LENGTH = struct.Struct("<I")
LOST_MODULUS = 1 << 32
EPOCH_BITS = 43  # of milliseconds: two centuries and a half
_COUNTER_BITS = 48
_BITS = 62  # of a time, an offset or a count: two of them can be added within 64
MAX_PAYLOAD = 64 * 1024

_ENVELOPE = struct.Struct("<2sBB")
_HEAD_LENGTH = struct.Struct("<I")
_encode_msgpack = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(RawHead).decode
_KINDS = frozenset(Kind)
_decode_silence = msgspec.msgpack.Decoder(NodeSilent).decode
_decode_frames = msgspec.msgpack.Decoder(FrameBatch).decode


class Record(NamedTuple):
    """`offset` counts this direction's bytes from the connection's first sight; `lost` is what
    that direction had lost in the kernel before this record, so a hole is a gap only as far as
    `lost` explains it."""

    connection: int
    direction: Direction
    flags: int
    offset: int
    boot_ns: int
    lost: Losses
    payload: memoryview

    def __repr__(self) -> str:
        span = f"{self.offset}+{len(self.payload)}"
        return f"Record({self.connection:016x}, {self.direction.name}, {span})"


_DIRECTIONS = (Direction.EGRESS, Direction.INGRESS)
_NOTHING_LOST = Losses()


def encode_raw(head: RawHead, records: Iterable[bytes | memoryview]) -> bytes:
    packed = _encode_msgpack(head)
    prefix = _ENVELOPE.pack(MAGIC, Kind.RAW, VERSION) + _HEAD_LENGTH.pack(len(packed))
    return b"".join((prefix, packed, *records))


def encode_record(record: Record, shard: int) -> bytes:
    """What the kernel would write: for tests and tools."""
    return RECORD.pack(
        len(record.payload), shard, record.direction, record.flags, record.connection,
        record.offset, record.boot_ns, *record.lost.counts(),
    ) + bytes(record.payload)  # fmt: skip


def decode_raw(data: bytes) -> tuple[RawHead, list[Record]]:
    """Raises MalformedBatch."""
    body = _open(data, Kind.RAW)
    if len(body) < _HEAD_LENGTH.size:
        raise MalformedBatch("the batch ends before its head")
    (length,) = _HEAD_LENGTH.unpack_from(body)
    end = _HEAD_LENGTH.size + length
    if end > len(body):
        raise MalformedBatch("the batch ends within its head")
    try:
        head = _decode_head(body[_HEAD_LENGTH.size : end])
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise MalformedBatch("the head is no raw head") from None
    absurd = head.epoch >> EPOCH_BITS or head.counter >> _COUNTER_BITS
    if absurd or any(abs(number) >> _BITS for number in _numbers(head)):
        raise MalformedBatch("the head has a number that nothing counts to")
    return head, list(_records(body[end:]))


def _numbers(head: RawHead) -> Iterator[int]:
    """What is added up or published again: it must stay within 64 bits."""
    yield from (head.epoch, head.counter, head.lowest_held, head.boot_ns, head.anchor_ns)
    yield from (head.totals.seen_bytes, head.totals.lost.total())
    for opened in head.opened:
        yield opened.first_boot_ns
    for closed in head.closed:
        yield from (closed.boot_ns, closed.egress.offset, closed.ingress.offset)
    for tail in head.tails:
        yield tail.final.offset


def _records(body: memoryview) -> Iterator[Record]:
    position, size = 0, len(body)
    while position < size:
        start = position + RECORD_SIZE
        if start > size:
            raise MalformedBatch("a record ends within its header")
        length, _, direction, flags, connection, offset, boot_ns, *lost = RECORD.unpack_from(
            body, position
        )
        position = start + length
        if position > size:
            raise MalformedBatch("a record ends within its payload")
        if direction > 1:
            raise MalformedBatch("a record has no direction")
        if (offset | boot_ns) >> _BITS:
            raise MalformedBatch("a record has a number that nothing counts to")
        yield Record(
            connection, _DIRECTIONS[direction], flags, offset, boot_ns,
            Losses(*lost) if any(lost) else _NOTHING_LOST,
            body[start:position],
        )  # fmt: skip


def encode_frames(batch: FrameBatch) -> bytes:
    return _ENVELOPE.pack(MAGIC, Kind.FRAMES, VERSION) + _encode_msgpack(batch)


def decode_frames(data: bytes) -> FrameBatch:
    """Raises MalformedBatch."""
    try:
        return _decode_frames(_open(data, Kind.FRAMES))
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise MalformedBatch("the batch holds no frames") from None


def encode_decision(decision: NodeSilent) -> bytes:
    return _ENVELOPE.pack(MAGIC, Kind.DECISION, VERSION) + _encode_msgpack(decision)


def decode_decision(data: bytes) -> NodeSilent:
    """Raises MalformedBatch."""
    try:
        return _decode_silence(_open(data, Kind.DECISION))
    except (msgspec.DecodeError, ValueError):
        raise MalformedBatch("the batch holds no decision") from None


def kind_of(data: bytes) -> Kind | None:
    """None where the payload is not one of ours (JSON, or anybody's bytes)."""
    if len(data) < _ENVELOPE.size:
        return None
    magic, kind, _ = _ENVELOPE.unpack_from(data)
    return Kind(kind) if magic == MAGIC and kind in _KINDS else None


def _open(data: bytes, kind: Kind) -> memoryview:
    if len(data) < _ENVELOPE.size:
        raise MalformedBatch("shorter than its envelope")
    magic, found, version = _ENVELOPE.unpack_from(data)
    if magic != MAGIC:
        raise MalformedBatch("not a Plainwire batch")
    if found != kind:
        raise MalformedBatch(f"a batch of kind {found}, not {int(kind)}")
    if version != VERSION:
        raise MalformedBatch(f"version {version} of the format; this release reads {VERSION}")
    return memoryview(data)[_ENVELOPE.size :]
