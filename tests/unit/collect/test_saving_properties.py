"""A snapshot made of changes is the state: for any frames, saved at any time; and what is read back
goes on exactly as the original does, order included."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.collect import saving
from services.collect.pairing import receive
from services.collect.state import Limits, ShardState
from services.groups import Written
from tests.unit.collect.test_pairing_properties import frames
from tests.unit.collect.transcript import batch, opened, request, tick

LIMITS = Limits(connections=3, exchanges=6, exchanges_of_connection=4, buffered_bytes=60)
SAVE = "save"


def packed(state: ShardState) -> bytes:
    return msgspec.msgpack.encode(state)


@given(st.lists(st.one_of(st.just(SAVE), st.lists(frames, min_size=1, max_size=4)), max_size=25))
def test_changes_add_up_to_the_state(steps: list) -> None:
    state = ShardState(shard=0, limits=LIMITS)
    written = saving.write(state, everything=True)
    for number, step in enumerate([*steps, SAVE], 1):
        if step != SAVE:
            receive(state, batch(number, *step))
            continue
        rest, groups = saving.write(state, everything=False)
        kept = {**written.groups, **groups}
        written = Written(rest, {group: data for group, data in kept.items() if data})
        assert packed(saving.read(written, LIMITS)) == packed(state)
    read = saving.read(written, LIMITS)
    for number, last in enumerate(([opened(), *request(9)], [tick(99, counter=99)]), 1000):
        more = batch(number, *last)
        assert receive(read, more) == receive(state, more)
    assert packed(read) == packed(state)
