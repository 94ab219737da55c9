"""However much is read at once: every record once, in order, in messages that fit the bus."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.capture.connections import News
from services.capture.parent.batches import Batches, Reading
from services.messages import ShardTotals
from services.records import decode_raw
from tests.support.kernel_ring import record

LIMIT = 160 << 10


@given(st.lists(st.lists(st.integers(1, 64 << 10), min_size=1, max_size=8), max_size=4))
def test_spans_become_batches_without_loss(sizes: list[list[int]]) -> None:
    made = Batches("node", 1, 1, LIMIT)
    spans = [b"".join(record(b"x" * size) for size in span) for span in sizes]
    built = made.build(
        0, Reading(1, 2), ShardTotals(), News(), [memoryview(span) for span in spans]
    )
    out = []
    for number, batch in enumerate(built, 1):
        assert len(batch.data) <= LIMIT
        head, records = decode_raw(batch.data)
        assert head.counter == number
        out += [len(one.payload) for one in records]
    assert out == [size for span in sizes for size in span]
