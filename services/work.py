"""What a service gives its stage: the state of a shard, and what is done with it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Protocol

from services.bus import Outgoing
from services.cursor import Incoming
from services.groups import Written


class Work(Protocol):
    """A shard's state and what is done with it: pure but for being told of acknowledgements."""

    def receive(self, message: Incoming) -> list[Outgoing]:
        """Folds it; each output has an id that a replay repeats."""

    def stored(self, messages: int) -> None:
        """Every output of so many messages, since this object was made, is stored."""

    def decide(self, now: float) -> list[Outgoing]:
        """What only a clock can tell, as messages for the shard's own input."""

    def write(self, *, everything: bool) -> Written:
        """What has changed since the last call, or all 64 groups, empty ones included."""


class Service(Protocol):
    """Makes works. `owned` are those whose sums are this replica's."""

    name: str
    format: int
    code: str
    owned: MutableMapping[int, Work]

    def begin(self, shard: int) -> Work: ...
    def resume(self, shard: int, written: Written) -> Work | None: ...
