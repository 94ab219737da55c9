"""Raw batches and frame batches: what is written is read, and hostile bytes are a value."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import records
from services.messages import (
    Closed,
    Direction,
    EndFrame,
    Final,
    FrameBatch,
    Losses,
    Opened,
    RawHead,
    ShardTotals,
    Source,
    Tail,
    raw_id,
)
from services.records import Kind, MalformedBatch, Record

FAR = Final(offset=1 << 62, lost=Losses())
HEAD = RawHead(
    node="node-1",
    epoch=7,
    shard=3,
    counter=42,
    lowest_held=40,
    boot_ns=1_000,
    anchor_ns=9_000,
    totals=ShardTotals(seen_bytes=10, lost=Losses(1, 2, 3, 4)),
    opened=(
        Opened(connection=2**64 - 1, source=Source(node="n", namespace="host"), first_boot_ns=1),
    ),
    closed=(
        Closed(
            connection=5,
            boot_ns=9,
            egress=Final(offset=1, lost=Losses()),
            ingress=Final(offset=2, lost=Losses(ring_full=2)),
        ),
    ),
    tails=(Tail(connection=5, direction=Direction.INGRESS, final=Final(offset=3, lost=Losses())),),
)
FRAMES = FrameBatch(
    shard=3,
    counter=1,
    origin=raw_id(HEAD),
    piece=0,
    frames=(EndFrame(connection=5, time_ns=1, stream=1, side="request", size=0),),
)

u64 = st.integers(0, 2**64 - 1)
u62 = st.integers(0, 2**62 - 1)
u32 = st.integers(0, 2**32 - 1)
any_record = st.builds(
    Record,
    connection=u64,
    direction=st.sampled_from(Direction),
    flags=st.integers(0, 255),
    offset=u62,
    boot_ns=u62,
    lost=st.builds(Losses, u32, u32, u32, u32),
    payload=st.binary(max_size=64).map(memoryview),
)


@given(st.lists(any_record, max_size=5))
def test_a_raw_batch_reads_as_it_was_written(written: list[Record]) -> None:
    data = records.encode_raw(HEAD, [records.encode_record(r, 3) for r in written])
    assert records.decode_raw(data) == (HEAD, written)


def test_a_frame_batch_reads_as_it_was_written() -> None:
    assert records.decode_frames(records.encode_frames(FRAMES)) == FRAMES


def test_kinds_are_told_from_the_bytes_alone() -> None:
    assert records.kind_of(records.encode_raw(HEAD, [])) is Kind.RAW
    assert records.kind_of(records.encode_frames(FRAMES)) is Kind.FRAMES
    assert records.kind_of(b'{"id": 1}') is None
    assert records.kind_of(b"PW") is None


RECORD = records.encode_record(
    Record(5, Direction.EGRESS, 0, 0, 0, Losses(), memoryview(b"secret")), 3
)
GOOD = records.encode_raw(HEAD, [RECORD])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "shorter than its envelope"),
        (b"GET / HTTP/1.1", "not a Plainwire batch"),
        (b"PW\x02\x01....", "a batch of kind 2"),
        (b"PW\x01\x09....", "version 9"),
        (GOOD[:6], "before its head"),
        (GOOD[:30], "within its head"),
        (GOOD[:-7], "within its header|within its payload"),
        (GOOD[: -len(RECORD) + 10], "within its header"),
        (GOOD[: -len(RECORD) + 6] + b"\x07" + GOOD[-len(RECORD) + 7 :], "no direction"),
    ],
)
def test_a_malformed_batch_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedBatch, match=reason):
        records.decode_raw(data)


@given(st.data())
def test_mutated_batches_are_read_or_refused_without_a_quote(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([GOOD, records.encode_frames(FRAMES)])))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for decode in (records.decode_raw, records.decode_frames):
        reason = ""
        try:
            decode(bytes(whole))
        except MalformedBatch as error:
            reason = str(error)
        assert "secret" not in reason


ABSURD = 1 << 62


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": ABSURD},
        {"counter": ABSURD},
        {"lowest_held": -ABSURD},
        {"boot_ns": ABSURD},
        {"anchor_ns": -ABSURD},
        {"totals": ShardTotals(seen_bytes=ABSURD)},
        {"closed": (Closed(connection=1, boot_ns=1, egress=FAR, ingress=FAR),)},
        {"tails": (Tail(connection=1, direction=Direction.EGRESS, final=FAR),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_head_with_a_number_that_nothing_counts_to_is_malformed(
    change: dict[str, object],
) -> None:
    with pytest.raises(MalformedBatch):
        records.decode_raw(records.encode_raw(msgspec.structs.replace(HEAD, **change), []))


@pytest.mark.parametrize("field", ["offset", "boot_ns"])
def test_a_record_with_a_number_that_nothing_counts_to_is_malformed(field: str) -> None:
    record = Record(
        connection=1, direction=Direction.EGRESS, flags=0, offset=0, boot_ns=0,
        lost=Losses(), payload=memoryview(b"x"),
    )._replace(**{field: ABSURD})  # fmt: skip
    with pytest.raises(MalformedBatch):
        records.decode_raw(records.encode_raw(HEAD, [records.encode_record(record, HEAD.shard)]))


@pytest.mark.parametrize("kind", list(Kind))
def test_bottomless_nesting_is_malformed(kind: Kind) -> None:
    nested = b"\x81\xa1x" + b"\x91" * 100_000
    length = len(nested).to_bytes(4, "little") if kind == Kind.RAW else b""
    read = records.decode_raw if kind == Kind.RAW else records.decode_frames
    with pytest.raises(MalformedBatch):
        read(b"PW" + bytes([kind, 1]) + length + nested)


def test_representations_show_lengths_not_bytes() -> None:
    record = Record(5, Direction.EGRESS, 0, 9, 0, Losses(), memoryview(b"secret"))
    assert repr(record) == "Record(0000000000000005, EGRESS, 9+6)"
