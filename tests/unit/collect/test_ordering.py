"""Batches that the bus has stored in another order than that of their counters."""

from __future__ import annotations

import itertools

import pytest

from services.collect.pairing import interrupt, receive
from services.collect.state import Limits, ShardState
from tests.unit.collect.transcript import batch, body, end, opened, request, response_head, tick

# One exchange: a batch each for its request, the head, three pieces of the body, and the end.
BATCHES = [
    batch(1, opened(), *request(), raw=1),
    batch(2, response_head(), raw=2),
    *(batch(3 + n, body(b"abc", "response", 3 * n), raw=3 + n) for n in range(3)),
    batch(6, end("response", 9), tick(counter=6), raw=6),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(2, 6))))
def test_whatever_the_order_in_which_they_are_stored_they_are_folded_in_theirs(
    order: tuple[int, ...],
) -> None:
    state = ShardState(shard=0)
    found = []
    for at in (0, 1, *order):
        found += receive(state, BATCHES[at], behind=at - 1)
    (witness,) = found
    assert (witness.state, witness.gaps) == ("complete", ())
    assert witness.response is not None
    assert witness.response.body.text == "abcabcabc"
    assert "batches_missing" not in state.counters
    assert (state.held, state.held_bytes) == ({}, 0)


def test_what_its_sender_had_seen_stored_is_lost_and_not_awaited() -> None:
    state = ShardState(shard=0)
    receive(state, BATCHES[0])
    receive(state, BATCHES[1])
    assert receive(state, BATCHES[4], behind=2) == []
    assert state.held
    receive(state, BATCHES[5], behind=1)  # 2, 3 and 4 are lost
    assert not state.held
    assert state.counters["batches_missing"] == 2


def test_one_that_is_held_already_is_a_duplicate() -> None:
    state = ShardState(shard=0)
    receive(state, BATCHES[0])
    for _ in range(2):
        receive(state, BATCHES[2], behind=1)
    assert state.counters["batches_duplicate"] == 1
    receive(state, BATCHES[1])
    assert state.counter == 3


@pytest.mark.parametrize("limits", [Limits(held_batches=2), Limits(held_bytes=150)])
def test_what_is_held_is_limited_and_counted(limits: Limits) -> None:
    state = ShardState(shard=0, limits=limits)
    receive(state, BATCHES[0])
    for at in (2, 3, 4):
        receive(state, BATCHES[at], behind=at)
    assert state.counters["held_overflows"] == 1
    assert state.counters["batches_missing"] == 1
    assert state.counter >= 4
    assert state.held_bytes <= 150


def test_after_a_restart_of_the_bus_nothing_is_awaited() -> None:
    state = ShardState(shard=0)
    receive(state, BATCHES[0])
    receive(state, BATCHES[5], behind=5)
    (witness,) = interrupt(state, "bus_restart")
    assert not state.held
    assert witness.state == "partial"


def test_what_is_held_is_folded_before_a_parse_that_began_anew_comes_to_its_numbers() -> None:
    state = ShardState(shard=0)
    receive(state, BATCHES[0])
    receive(state, BATCHES[1])
    receive(state, batch(4, tick(counter=4), raw=4), behind=2)
    assert state.held
    receive(state, batch(1, opened(connection=2), raw=9))
    assert not state.held
    found = [receive(state, batch(n, *request(2 * n, connection=2), raw=9 + n)) for n in (2, 3, 4)]
    assert found
    assert state.begun == 4
    assert state.counters["parse_restarts"] >= 1
