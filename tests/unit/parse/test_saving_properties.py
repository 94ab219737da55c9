"""A snapshot made of changes is the state: for any traffic, saved at any time, whatever was saved
before; and what is read back goes on exactly as the original does, order included."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.groups import Written
from services.parse import saving, shard
from services.parse.limits import Limits
from services.parse.shard import ShardState
from tests.support.wire import EGRESS, INGRESS, Kernel
from tests.unit.parse.test_parse_properties import TRANSCRIPTS

LIMITS = Limits(connections=3, tombstones=2, pending=200, shard_pending=300)
STEPS = st.sampled_from(["record", "record", "record", "late", "loss", "close", "tick", "save"])


class Snapshot:
    """Collects what is written, as the bucket does."""

    def __init__(self) -> None:
        self.written = Written(b"", {})

    def save(self, state: ShardState, *, everything: bool) -> None:
        rest, groups = saving.write(state, everything=everything)
        kept = {**self.written.groups, **groups}
        self.written = Written(rest, {group: data for group, data in kept.items() if data})


def packed(state: ShardState) -> bytes:
    return msgspec.msgpack.encode(state)


@given(TRANSCRIPTS, st.lists(st.tuples(STEPS, st.integers(1, 5), st.integers(1, 90)), max_size=40))
def test_changes_add_up_to_the_state(transcript, steps):
    state = ShardState(shard=0, limits=LIMITS)
    kernel, snapshot = Kernel(state), Snapshot()
    snapshot.save(state, everything=True)
    streams = {}
    late = []
    for step, connection, size in steps:
        pieces = streams.setdefault(connection, list(transcript))
        match step:
            case "record" | "late" if pieces:
                direction, data = pieces.pop(0)
                if data[size:]:
                    pieces.insert(0, (direction, data[size:]))
                record = kernel.record(direction, data[:size], connection)
                if step == "late":
                    late.append(record)
                else:
                    kernel.batch(record, opened=(kernel.opened(connection),))
            case "loss":
                kernel.lose(EGRESS, size, connection)
            case "close":
                kernel.batch(closed=(kernel.closed(connection),))
            case "tick":
                kernel.now += size * 10**8
                kernel.batch(*late)
                late.clear()
            case "save":
                snapshot.save(state, everything=False)
                read = saving.read(snapshot.written, LIMITS)
                assert packed(read) == packed(state)
    snapshot.save(state, everything=False)
    read = saving.read(snapshot.written, LIMITS)
    assert packed(read) == packed(state)
    head = kernel.head()
    record = kernel.record(INGRESS, b"HTTP/1.1 200 OK\r\n\r\n", 1)
    assert shard.receive(read, head, [record]) == shard.receive(state, head, [record])
    assert packed(read) == packed(state)
