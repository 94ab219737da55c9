"""Reading a ring in shared memory: wrap, unfinished and discarded records; the control ring.

Not covered: the kernel's own writing, which tests/e2e/test_capture* shows.
"""

from __future__ import annotations

import struct

from services.capture import layout, rings
from services.capture.rings import ControlRing, Ring
from services.records import RECORD_SIZE
from tests.support.kernel_ring import KernelRing, record

SIZE = 4096


def ring_of(kernel: KernelRing) -> Ring:
    return Ring(memoryview(kernel.memory), kernel.size)


def read(ring: Ring) -> bytes:
    found = ring.look()
    data = b"".join(map(ring.view, found.kept))
    ring.release(found.freed, found.next)
    return data


def test_an_empty_ring_gives_nothing() -> None:
    ring = ring_of(KernelRing(SIZE))
    assert not ring.waiting()
    assert read(ring) == b""


def test_records_come_out_as_one_span_exactly_as_written() -> None:
    kernel = KernelRing(SIZE)
    ring = ring_of(kernel)
    written = [record(b"a" * n) for n in (1, 7, 100)]
    assert all(map(kernel.write, written))
    assert ring.fill() == sum(map(len, written))
    spans = ring.look().kept
    assert len(spans) == 1
    assert ring.view(spans[0]) == b"".join(written)


def test_what_was_told_is_not_told_again_and_keeps_its_room_until_it_is_released() -> None:
    kernel = KernelRing(SIZE)
    ring = ring_of(kernel)
    first, second = record(b"x" * 2000), record(b"y" * 1000)
    assert kernel.write(first)
    told = ring.look()
    assert kernel.write(second)
    assert not kernel.write(first)
    later = ring.look()
    assert [ring.view(span) for found in (told, later) for span in found.kept] == [first, second]
    ring.release(told.freed, told.next)
    assert kernel.write(first)


def test_a_record_that_crosses_the_end_stays_whole() -> None:
    kernel = KernelRing(SIZE)
    ring = ring_of(kernel)
    for _ in range(20):
        first, second = record(b"x" * 1000), record(b"y" * 1333)
        assert kernel.write(first)
        assert kernel.write(second)
        assert read(ring) == first + second


def test_a_record_that_ends_at_the_end_leaves_no_hole() -> None:
    kernel = KernelRing(SIZE)
    ring = ring_of(kernel)
    first, second = record(b"x" * (SIZE - RECORD_SIZE)), record(b"next")
    assert kernel.write(first)
    assert read(ring) == first
    assert kernel.write(second)
    assert read(ring) == second


def test_a_full_ring_takes_nothing_more_until_it_is_read() -> None:
    kernel = KernelRing(SIZE)
    ring = ring_of(kernel)
    big = record(b"x" * (SIZE - RECORD_SIZE))
    assert kernel.write(big)
    assert not kernel.write(record(b"y"))
    assert read(ring) == big
    assert kernel.write(record(b"y"))


def test_an_unfinished_record_stops_the_reader_before_it() -> None:
    kernel = KernelRing(SIZE)
    ring = ring_of(kernel)
    first, busy, last = record(b"first"), record(b"busy"), record(b"last")
    assert kernel.write(first)
    position = kernel.begin(len(busy))
    assert kernel.write(last)
    assert read(ring) == first
    assert read(ring) == b""
    assert position is not None
    kernel.finish(position, busy)
    assert read(ring) == busy + last


def test_what_was_read_is_wiped() -> None:
    kernel = KernelRing(SIZE)
    ring = ring_of(kernel)
    assert kernel.write(record(b"secret" * 10))
    read(ring)
    assert b"secret" not in kernel.memory


def test_a_discarded_record_is_left_out() -> None:
    kernel = KernelRing(SIZE)
    ring = ring_of(kernel)
    kept, flawed = record(b"kept"), record(b"????", flags=layout.FLAG_DISCARDED)
    for data in (kept, flawed, kept):
        assert kernel.write(data)
    kernel.set_word(layout.DISCARDED, 1)
    assert read(ring) == kept + kept
    assert kernel.write(kept)
    assert read(ring) == kept


def test_a_canary_is_told_apart_and_is_no_record() -> None:
    kernel = KernelRing(SIZE)
    ring = ring_of(kernel)
    canary = record(b"marker", flags=layout.FLAG_CANARY | layout.FLAG_DISCARDED)
    for data in (record(b"kept"), canary):
        assert kernel.write(data)
    kernel.set_word(layout.DISCARDED, 1)
    found = ring.look()
    assert found.canaries == [b"marker"]
    assert b"".join(map(ring.view, found.kept)) == record(b"kept")


def test_spare_records_go_to_their_shards() -> None:
    first, second, third = (record(b"x" * n, shard=n % 2) for n in (1, 2, 3))
    kernel = KernelRing(SIZE)
    ring = ring_of(kernel)
    assert all(map(kernel.write, (first, second, third)))
    grouped = rings.by_shard(ring, ring.look().kept)
    assert {shard: b"".join(map(ring.view, found)) for shard, found in grouped.items()} == {
        1: first + third,
        0: second,
    }


def control_ring(
    records: list[tuple[int, bytes]], size: int = SIZE
) -> tuple[ControlRing, memoryview]:
    """Records as (flags of the length, content), laid out as the kernel does."""
    data = bytearray()
    for flags, content in records:
        data += struct.pack("<II", len(content) | flags, 0) + content
        data += bytes(-len(data) % 8)
    consumer = memoryview(bytearray(layout.PAGE))
    producer = bytearray(layout.PAGE + 2 * size)
    struct.pack_into("<Q", producer, 0, len(data))
    producer[layout.PAGE : layout.PAGE + len(data)] = data
    return ControlRing(consumer, memoryview(producer), size), consumer


def test_control_events_are_read_up_to_a_busy_one_without_the_discarded() -> None:
    ring, consumer = control_ring(
        [(0, b"one"), (1 << 30, b"discarded"), (0, b"twotwotwo"), (1 << 31, b"busy"), (0, b"no")]
    )
    assert ring.read() == [b"one", b"twotwotwo"]
    assert consumer.cast("Q")[0] == 16 + 24 + 24
    assert ring.read() == []
