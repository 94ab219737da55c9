"""Whatever is written, unfinished and finished in whatever order, comes out once and in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.capture import rings
from services.capture.rings import Ring
from tests.support.kernel_ring import KernelRing, record

SIZE = 4096

# ("write", size) begins a record, ("finish", which) completes an unfinished one, ("read", 0) reads.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 1500)),
        st.tuples(st.just("begin"), st.integers(1, 1500)),
        st.tuples(st.just("finish"), st.integers(0, 5)),
        st.tuples(st.just("read"), st.just(0)),
    ),
    max_size=80,
)


@given(steps)
def test_every_record_comes_out_once_in_order(script: list[tuple[str, int]]) -> None:
    kernel = KernelRing(SIZE)
    ring = Ring(memoryview(kernel.memory), SIZE)
    written, unfinished, out = bytearray(), [], bytearray()

    def read() -> None:
        found = ring.look()
        for span in found.kept:
            out.extend(ring.view(span))
        ring.release(found.freed, found.next)

    for number, (step, value) in enumerate(script):
        data = record(bytes([number % 251 + 1]) * value)
        if step in ("write", "begin"):
            position = kernel.begin(len(data))
            if position is None:
                continue
            written += data
            unfinished.append((position, data))
            if step == "write":
                kernel.finish(*unfinished.pop())
        elif step == "finish" and unfinished:
            kernel.finish(*unfinished.pop(value % len(unfinished)))
        elif step == "read":
            read()
            assert bytes(written).startswith(bytes(out))
    for left in unfinished:
        kernel.finish(*left)
    read()
    read()
    assert out == written


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=30), st.integers(4000, 20000))
def test_a_split_span_is_whole_records_within_the_limit(sizes: list[int], limit: int) -> None:
    span = b"".join(record(b"x" * size) for size in sizes)
    pieces = list(rings.split(memoryview(span), limit))
    assert b"".join(pieces) == span
    for piece in pieces:
        assert 0 < len(piece) <= limit
        assert [end for _, end, _, _ in rings.records(piece)][-1] == len(piece)
