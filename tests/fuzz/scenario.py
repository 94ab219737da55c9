"""Any bytes as a scenario of one connection: what is sent, lost, delayed, restored; and what holds.

A scenario is a row of steps: an operation, a length of two bytes, and that many bytes for those
that carry some. Cut anywhere and mutated anyhow it is still one, which is what a fuzzer needs.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.messages import BodyFrame, Direction
from services.parse import dialogue, shard
from services.parse.limits import Limits
from services.parse.shard import ShardState
from services.records import Record
from tests.support.wire import CONNECTION, Kernel, assert_exact, restored

SAY, LOSE, DELAY, RESTORE, TICK, JOIN, LOSE_BATCH = range(7)
LIMITS = Limits(
    head=2000, body=500, streams=8, waiting=4, early_bytes=2000, inflated=100_000,
    buffered=300_000, pending=20_000,
)  # fmt: skip


def step(operation: int, direction: Direction, data: bytes) -> bytes:
    return bytes((operation | direction << 7,)) + len(data).to_bytes(2) + data


def steps(scenario: bytes) -> Iterator[tuple[int, Direction, bytes]]:
    position = 0
    while position + 3 <= len(scenario):
        operation, direction = scenario[position] & 0x7F, Direction(scenario[position] >> 7)
        size = int.from_bytes(scenario[position + 1 : position + 3])
        data = scenario[position + 3 : position + 3 + size]
        position += 3 + len(data)
        yield operation % 7, direction, data


def play(scenario: bytes) -> None:
    """Raises AssertionError, or whatever parse should not."""
    kernel, late = Kernel(ShardState(shard=0, limits=LIMITS)), []
    kernel.batch(opened=(kernel.opened(joined=scenario[:1] == bytes((JOIN,))),))
    for operation, direction, data in steps(scenario):
        _act(kernel, late, operation, direction, data)
        assert_exact(kernel.state)
        for connection in kernel.state.table.connections.values():
            assert dialogue.weight(connection.dialogue) < 600_000
    kernel.batch(*late)
    kernel.tick(20)
    kernel.batch(closed=(kernel.closed(),))
    kernel.tick(20)
    kernel.tick(20)
    assert_exact(kernel.state)
    sums = shard.ledger(kernel.state)
    assert (sums.in_flight, sums.seen) == (0, kernel.seen)


def _act(
    kernel: Kernel, late: list[Record], operation: int, direction: Direction, data: bytes
) -> None:
    match operation:
        case 1 if data:
            kernel.lose(direction, len(data))
        case 2 if data:
            late.append(kernel.record(direction, data))
        case 3:
            kernel.state = _restored(kernel.state)
        case 4:
            kernel.tick(0.5 + len(data) / 100)
        case 6 if data:
            kernel.record(direction, data)
            kernel.head()
        case _ if data:
            for frame in kernel.batch(kernel.record(direction, data)):
                if isinstance(frame, BodyFrame):
                    assert len(frame.data) <= max(frame.size, 0)
    assert CONNECTION  # one connection, whatever becomes of it


def _restored(state: ShardState) -> ShardState:
    found = restored(state)
    assert found == state
    return found
