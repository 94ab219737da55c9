"""What a service gives its stage, the state of a shard and what is done with it; and what the stage
needs of the bus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Protocol

from services.buckets import Bucket
from services.bus import Outgoing
from services.cursor import Cursor, Incoming, StreamPosition
from services.groups import Written
from services.publishing import Stored


class Work(Protocol):
    """A shard's state and what is done with it: pure but for being told of acknowledgements."""

    def receive(self, message: Incoming) -> list[Outgoing]:
        """Folds it; each output has an id that a replay repeats."""

    def skip(self, message: Incoming) -> list[Outgoing]:
        """Folds that there was this message, and nothing of what it says: `receive` has raised on
        it, in a state that is the same as this one. As pure as that."""

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


class Traces(Protocol):
    def processing(
        self, destination: str, headers: Mapping[str, str]
    ) -> AbstractContextManager[None]: ...


class FoldingBus(Protocol):
    """What of the bus a shard needs; tests have another one."""

    @property
    def max_payload(self) -> int: ...
    async def publish(
        self, out: Outgoing, stored: Stored | None, still: Callable[[], bool] | None
    ) -> None: ...
    def cursor(self, stream: str, subject: str, after: StreamPosition | None) -> Cursor: ...
    async def purge(self, position: StreamPosition, stream: str, subject: str) -> None: ...
    def bucket(self, name: str) -> Bucket: ...
