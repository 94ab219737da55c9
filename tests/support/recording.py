"""Traffic of real programs as capture recorded it, and the story that parse makes of it.

A recording is plain: (connection, direction, nanoseconds, bytes), connections numbered as they
begin. It is replayed whole or cut into pieces; the story is what programs log as well.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from nats.aio.msg import Msg

from services.messages import (
    AnyFrame,
    BodyFrame,
    Direction,
    EndFrame,
    GrpcFrame,
    OpaqueFrame,
    RequestHead,
    ResponseHead,
    WebSocketFrame,
)
from services.records import decode_raw
from tests.support import capturing
from tests.support.wire import Kernel, assert_exact, cut_at, restored

CORPUS = Path(__file__).parents[1] / "corpus" / "recordings"
Piece = tuple[int, Direction, int, bytes]


class Recording(NamedTuple):
    pieces: list[Piece]
    processes: dict[int, str]  # connection -> its owner

    def of(self, process: str) -> Recording:
        mine = {number for number, name in self.processes.items() if name == process}
        return Recording([p for p in self.pieces if p[0] in mine], self.processes)

    def connection(self, number: int) -> Recording:
        return Recording([p for p in self.pieces if p[0] == number], self.processes)


class Exchange(NamedTuple):
    protocol: str
    method: str | None
    path: str | None
    status: int | None
    sent: int | None  # content bytes
    received: int | None


class Said(NamedTuple):
    sender: str
    kind: str
    size: int | None
    data: bytes


class Story(NamedTuple):
    exchanges: list[Exchange]
    said: list[Said]  # of WebSockets
    messages: list[tuple[str, int]]  # of gRPC: side and size
    statuses: list[str]  # of gRPC
    opaque: int


@asynccontextmanager
async def recording(folder: Path) -> AsyncIterator[Callable[[], Recording]]:
    """Of all that descends from this process, until asked for."""
    heads: list[bytes] = []

    async def receive(message: Msg) -> None:
        heads.append(message.data)

    async with capturing.capturing(folder, pids=os.getpid()) as capture:
        await capture.client.subscribe("plainwire.raw.>", cb=receive)
        await capture.client.flush()

        def recorded() -> Recording:
            return _plain(heads)

        yield recorded
        await capture.tick()


def _plain(batches: list[bytes]) -> Recording:
    names: dict[int, str] = {}
    found: list[Piece] = []
    numbers: dict[int, int] = {}
    offsets: dict[tuple[int, Direction], int] = {}
    decoded = [decode_raw(batch) for batch in batches]
    for head, _ in decoded:
        for opened in head.opened:
            names[opened.connection] = opened.source.process
    everything = sorted((r for _, records in decoded for r in records), key=lambda r: r.boot_ns)
    for record in everything:
        number = numbers.setdefault(record.connection, len(numbers) + 1)
        key = number, record.direction
        assert record.offset == offsets.get(key, 0), "bytes were lost"
        offsets[key] = record.offset + len(record.payload)
        found.append((number, record.direction, record.boot_ns, bytes(record.payload)))
    return Recording(found, {n: names.get(connection, "") for connection, n in numbers.items()})


def replay(recorded: Recording, sizes: Callable[[], int] | None = None) -> list[AnyFrame]:
    """The frames; with `sizes`, each record is cut into pieces of these, and state restored."""
    kernel, frames = Kernel(), []
    for number in dict.fromkeys(piece[0] for piece in recorded.pieces):
        frames += kernel.batch(opened=(kernel.opened(number),))
    for number, direction, now, data in recorded.pieces:
        pieces = [data] if sizes is None else cut_at(data, iter(sizes, 0))
        for piece in pieces:
            record = kernel.record(direction, piece, number)._replace(boot_ns=now)
            frames += kernel.batch(record)
        if sizes is not None:
            kernel.state = restored(kernel.state)
    kernel.now = max(now for *_, now, _ in recorded.pieces) + 1
    numbers = dict.fromkeys(piece[0] for piece in recorded.pieces)
    frames += kernel.batch(closed=tuple(kernel.closed(number) for number in numbers))
    assert_exact(kernel.state)
    assert not [f for f in frames if type(f).__name__ in ("MalformedFrame", "GapFrame")]
    return frames


def story(frames: list[AnyFrame]) -> Story:
    heads: dict[tuple[int, int], list[object]] = {}
    said, messages, statuses, opaque = [], [], [], 0
    for frame in frames:
        match frame:
            case RequestHead():
                heads[frame.connection, frame.stream] = [
                    frame.protocol, frame.method, frame.path, None, None, None,
                ]  # fmt: skip
            case ResponseHead():
                heads[frame.connection, frame.stream][3] = frame.status
                statuses += [v or "" for k, v in frame.headers if k == "grpc-status"]
            case EndFrame():
                at = 4 if frame.side == "request" else 5
                heads[frame.connection, frame.stream][at] = frame.size
                statuses += [v or "" for k, v in frame.trailers if k == "grpc-status"]
            case WebSocketFrame():
                said.append(Said(frame.sender, frame.kind, frame.size, frame.data))
            case GrpcFrame():
                messages.append((frame.side, frame.size))
            case OpaqueFrame():
                opaque += frame.bytes
    exchanges = sorted((Exchange(*row) for row in heads.values()), key=repr)  # type: ignore[arg-type]
    return Story(exchanges, said, messages, statuses, opaque)


def bodies(frames: list[AnyFrame]) -> dict[tuple[int, int, str], bytes]:
    found: dict[tuple[int, int, str], bytes] = {}
    for frame in frames:
        if isinstance(frame, BodyFrame):
            key = frame.connection, frame.stream, frame.side
            found[key] = found.get(key, b"") + frame.data
    return found


def keep(name: str, recorded: Recording) -> None:
    """Into the corpus, where RECORD=1 asks for it."""
    if os.environ.get("RECORD") != "1":
        return
    rows = [
        [number, int(direction), now - recorded.pieces[0][2], base64.b64encode(data).decode()]
        for number, direction, now, data in recorded.pieces
    ]
    told = story(replay(recorded))
    (CORPUS / f"{name}.json").write_text(
        json.dumps({"pieces": rows, "story": _jsonable(told)}, separators=(",", ":")) + "\n"
    )


def kept(path: Path) -> tuple[Recording, object]:
    read = json.loads(path.read_text())
    pieces = [
        (number, Direction(direction), now, base64.b64decode(data))
        for number, direction, now, data in read["pieces"]
    ]
    return Recording(pieces, {}), read["story"]


def jsonable(told: Story) -> object:
    return _jsonable(told)


def _jsonable(told: Story) -> object:
    said = [(s.sender, s.kind, s.size, base64.b64encode(s.data).decode()) for s in told.said]
    rows = {"exchanges": told.exchanges, "said": said, "messages": told.messages,
            "statuses": told.statuses, "opaque": told.opaque}  # fmt: skip
    return json.loads(json.dumps(rows))
