"""What is done with a message on which a fold raises, and what is said of it."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from services.bus import Incoming, Outgoing
from services.cursor import StreamPosition
from services.unfoldable import Unfoldable

OUTPUT = [Outgoing("s", b"")]
SECRET = "secret plaintext"


class Work:
    """Raises on what says so; on some even where it is only to be passed over."""

    def receive(self, message: Incoming) -> list[Outgoing]:
        if message.payload.startswith(b"bug"):
            raise RuntimeError(SECRET)
        return OUTPUT

    def skip(self, message: Incoming) -> list[Outgoing]:
        if message.payload == b"bug twice":
            raise RuntimeError(SECRET)
        return []


def message(payload: bytes, sequence: int = 7) -> Incoming:
    return Incoming("s", payload, "", sequence, {}, created="then")


@pytest.fixture
def unfoldable() -> Unfoldable:
    return Unfoldable(3, Counter())


def fold(unfoldable: Unfoldable, told: Incoming) -> list[Outgoing] | None:
    return unfoldable.fold(Work(), told)  # type: ignore[arg-type]


def test_whatever_can_be_folded_is(unfoldable: Unfoldable) -> None:
    assert fold(unfoldable, message(b"well")) == OUTPUT
    assert message(b"well") not in unfoldable


@pytest.mark.parametrize(("payload", "times"), [(b"bug", 1), (b"bug twice", 2)])
def test_a_message_that_raises_is_passed_over_when_it_comes_again(
    unfoldable: Unfoldable, payload: bytes, times: int
) -> None:
    for _ in range(times):
        assert fold(unfoldable, message(payload)) is None
    assert fold(unfoldable, message(payload)) == []
    assert fold(unfoldable, message(b"well", 8)) == OUTPUT
    assert message(payload) in unfoldable


def test_it_is_remembered_until_a_snapshot_is_behind_it(unfoldable: Unfoldable) -> None:
    fold(unfoldable, message(b"bug", 7))
    unfoldable.forget(StreamPosition("then", 6))
    assert message(b"bug", 7) in unfoldable
    unfoldable.forget(StreamPosition("then", 7))
    assert message(b"bug", 7) not in unfoldable
    fold(unfoldable, message(b"bug", 7))
    unfoldable.forget(StreamPosition("made anew", 1))
    assert message(b"bug", 7) not in unfoldable


def test_kind_and_place_are_said_once_and_not_the_exceptions_words(
    unfoldable: Unfoldable, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        for sequence in range(3):
            fold(unfoldable, message(b"bug", sequence))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "RuntimeError in test_unfoldable.py:" in line
    assert SECRET not in caplog.text
