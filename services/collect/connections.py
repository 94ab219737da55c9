"""The connections of a shard and the nodes that they live on: named, limited, closed, timed.

Knows when connections come and go and how a node's time advances; not what their frames mean.
"""

from __future__ import annotations

from services.collect import ending, parting
from services.collect.ending import Cause
from services.collect.fold import Fold
from services.collect.state import SECOND_NS, Connection, NodeProgress, ShardState
from services.messages import (
    CloseFrame,
    FrameBatch,
    Gap,
    OpenFrame,
    Source,
    TickFrame,
)

_SWEEP_NS = 5 * SECOND_NS
_MAX_GAPS = 16
_MOST_DIGITS = 19
_UNKNOWN = "unknown"

_CAUSE_OF_CLOSE = {
    "freed": Cause.CONNECTION_CLOSED,
    "reused": Cause.CONNECTION_CLOSED,
    "exited": Cause.PROCESS_EXITED,
    "evicted": Cause.CONNECTION_EVICTED,
    "capture_restart": Cause.CAPTURE_RESTART,
    "node_silent": Cause.NODE_SILENT,
}


def begin_fold(state: ShardState, batch: FrameBatch) -> Fold | None:
    """None where the batch was folded before: neither its number nor its origin is new.

    Both are asked, since a parse that starts anew counts from 1 again.
    """
    node, position = _origin(batch)
    progress = state.nodes.get(node)
    if progress is None:
        progress = _admit_node(state, node)
    newer_origin = position > progress.folded and position[0] > 0
    if batch.counter <= state.counter and not newer_origin:
        state.count("batches_duplicate")
        return None
    _count_missing(state, batch.counter)
    state.counter = batch.counter
    progress.folded = max(position, progress.folded)
    return Fold(state, node, position[0])


def _count_missing(state: ShardState, counter: int) -> None:
    if counter <= state.counter:
        state.count("parse_restarts")
    elif counter > state.counter + 1:
        name = "batches_missing" if state.counter else "batches_before_start"
        state.count(name, counter - state.counter - 1)
        if state.interruption:
            state.count(f"stream_{state.interruption}")
    state.interruption = ""


def _origin(batch: FrameBatch) -> tuple[str, tuple[int, int, int]]:
    """The raw message's id is `<node>/<epoch>/<shard>/<counter>`; epoch 0 where it is not."""
    parts = batch.origin.rsplit("/", 3)
    if len(parts) == 4 and _is_number(parts[1]) and _is_number(parts[3]):
        return parts[0], (int(parts[1]), int(parts[3]), batch.piece)
    return _UNKNOWN, (0, 0, 0)


def _is_number(text: str) -> bool:
    """Bounded: Python refuses to read thousands of digits, and anybody may publish them."""
    return len(text) <= _MOST_DIGITS and text.isdecimal()


def _admit_node(state: ShardState, node: str) -> NodeProgress:
    if len(state.nodes) >= state.limits.nodes:
        del state.nodes[next(iter(state.nodes))]
        state.count("nodes_forgotten")
    progress = state.nodes[node] = NodeProgress()
    return progress


def name(fold: Fold, frame: OpenFrame) -> None:
    """A connection may be named again, with more that is known of it."""
    connection = fold.state.connections.get(frame.connection)
    if connection is None:
        connection = _admit(fold, frame.connection, frame.source)
        connection.mid_connection = frame.mid_connection
    connection.source = frame.source
    connection.node = frame.source.node
    connection.epoch = fold.epoch
    connection.local = frame.local or connection.local
    connection.peer = frame.peer or connection.peer


def of(fold: Fold, connection_id: int) -> Connection:
    """One that was never named (its opening is lost) has at least its node."""
    connection = fold.state.connections.get(connection_id)
    if connection is None:
        fold.state.count("connections_unnamed")
        source = Source(node=fold.node, namespace=_UNKNOWN, workload=_UNKNOWN)
        connection = _admit(fold, connection_id, source)
        connection.mid_connection = True
    return connection


def _admit(fold: Fold, connection_id: int, source: Source) -> Connection:
    state = fold.state
    if len(state.connections) >= state.limits.connections:
        state.count("connections_evicted")
        end(fold, next(iter(state.connections)), Cause.CONNECTION_EVICTED)
    connection = Connection(source, fold.epoch, source.node)
    connection.generation = state.evicted.pop(connection_id, 0)
    state.admitted += 1
    connection.number = state.admitted
    state.connections[connection_id] = connection
    state.touched.add(connection_id)
    return connection


def renumber(connection: Connection) -> None:
    """A request stream number came again: a new preface, so all numbers are new."""
    connection.generation += 1
    connection.highest = [0, 0]
    connection.unrequested.clear()


def note_gap(state: ShardState, connection: Connection, gap: Gap) -> None:
    if len(connection.gaps) < _MAX_GAPS:
        connection.gaps.append(gap)
        connection.gaps_since.append(state.begun)
    else:
        connection.gaps_since[-1] = state.begun
        state.count("gaps_untold")


def close(fold: Fold, frame: CloseFrame) -> None:
    if frame.connection in fold.state.connections:
        cause = _CAUSE_OF_CLOSE.get(frame.reason, Cause.CONNECTION_CLOSED)
        end(fold, frame.connection, cause)


def end(fold: Fold, connection_id: int, cause: Cause) -> None:
    state = fold.state
    connection = state.connections[connection_id]
    for number in tuple(connection.streams.values()):
        ending.finish(fold, number, cause)
    del state.connections[connection_id]
    state.touched.add(connection_id)
    if cause == Cause.CONNECTION_EVICTED:
        # It may come back: the ids of its exchanges must not.
        if len(state.evicted) >= state.limits.remembered:
            del state.evicted[next(iter(state.evicted))]
            state.count("evicted_connections_forgotten")
        state.evicted[connection_id] = connection.generation + 1


def advance(fold: Fold, tick: TickFrame) -> None:
    """A node's time and position; what it no longer probes ends here."""
    state = fold.state
    progress = state.nodes.get(tick.node) or _admit_node(state, tick.node)
    if (tick.epoch, tick.counter) < (progress.epoch, progress.counter):
        return
    if tick.epoch > progress.epoch:
        _end_epochs(fold, tick.node, tick.epoch - 1, Cause.CAPTURE_RESTART)
    progress.epoch, progress.counter = tick.epoch, tick.counter
    progress.now_ns = max(progress.now_ns, tick.time_ns)
    if progress.now_ns - progress.swept_ns >= _SWEEP_NS:
        progress.swept_ns = progress.now_ns
        _sweep(fold, tick.node, progress.now_ns)
    parting.advance(fold, tick.node, progress.now_ns)
    if tick.final:
        _end_epochs(fold, tick.node, tick.epoch, Cause.CAPTURE_ENDED)


def _end_epochs(fold: Fold, node: str, last: int, cause: Cause) -> None:
    ended = [
        connection_id
        for connection_id, connection in fold.state.connections.items()
        if connection.node == node and connection.epoch <= last
    ]
    for connection_id in ended:
        end(fold, connection_id, cause)


def _sweep(fold: Fold, node: str, now_ns: int) -> None:
    state = fold.state
    since_ns = now_ns - state.limits.wait_ns
    stream_since_ns = now_ns - state.limits.stream_wait_ns
    overdue = [
        number
        for number, exchange in state.exchanges.items()
        if exchange.last_ns <= (since_ns if exchange.parts is None else stream_since_ns)
        and state.connections[exchange.connection].node == node
    ]
    for number in overdue:
        ending.finish(fold, number, Cause.TIMEOUT)
