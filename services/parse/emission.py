"""What one raw batch gives: frames in pieces that fit the bus, and the bytes accounted on the way.

Knows sizes and the kept cap of bodies; knows no protocol. It lives for one call of `receive`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from services.messages import AnyFrame, BodyFrame, Direction, MalformedFrame, OpaqueFrame, Side
from services.parse.limits import Limits
from services.parse.reassembly import Hole

_FIXED = 96  # an upper bound of what a frame takes besides its texts and bytes


class Fault(NamedTuple):
    """Bytes that break a protocol: why, how many, and of which stream, if of one."""

    protocol: str
    reason: str
    size: int
    stream: int | None = None


class Emission:
    """`connection` and `time_ns` are those of the record in hand; parsers stamp frames with them.

    Every byte that `arrived` ends in `parsed` or `opaque`, or is held in a parser's state.
    """

    __slots__ = (
        "_opaque",
        "_pieces",
        "_size",
        "arrived",
        "body_limit",
        "connection",
        "counters",
        "frames",
        "gaps",
        "limits",
        "opaque",
        "parsed",
        "time_ns",
        "waiting",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.body_limit = limits.body
        self.connection = 0
        self.time_ns = 0
        self.arrived = 0
        self.gaps: dict[str, int] = {}
        self.waiting: set[int] = set()  # connections that owe bytes, or a request
        self.parsed = 0
        self.opaque = 0
        self.counters: dict[str, int] = {}
        self.frames: list[AnyFrame] = []
        self._pieces: list[list[AnyFrame]] = []
        self._size = 0
        self._opaque: dict[int, dict[Direction, OpaqueFrame]] = {}

    def count(self, counter: str, amount: int = 1) -> None:
        self.counters[counter] = self.counters.get(counter, 0) + amount

    def emit(self, frame: AnyFrame, texts: int = 0) -> None:
        """`texts`: an upper bound of the encoded size of its texts and bytes."""
        size = self._size + texts + _FIXED
        if size > self.limits.piece_bytes and self.frames:
            self._pieces.append(self.frames)
            self.frames = []
            size = texts + _FIXED
        self._size = size
        self.frames.append(frame)

    def body(self, stream: int, side: Side, offset: int, data: memoryview, upto: int) -> None:
        """Passes on what lies below the offset `upto`, and counts the rest."""
        size, room = len(data), upto - offset
        kept = bytes(data if size <= room else data[:room]) if room > 0 else b""
        if not kept and self._counts_on(stream, side, offset, size):
            return
        self.emit(
            BodyFrame(
                connection=self.connection,
                time_ns=self.time_ns,
                stream=stream,
                side=side,
                offset=offset,
                size=size,
                data=kept,
            ),
            len(kept),
        )

    def _counts_on(self, stream: int, side: Side, offset: int, size: int) -> bool:
        """Joins bytes that are only counted to those before them."""
        last = self.frames[-1] if self.frames else None
        if (
            type(last) is not BodyFrame
            or last.data
            or (last.stream, last.side, last.connection) != (stream, side, self.connection)
            or last.offset + last.size != offset
        ):
            return False
        self.frames[-1] = BodyFrame(
            connection=self.connection, time_ns=self.time_ns, stream=stream, side=side,
            offset=last.offset, size=last.size + size,
        )  # fmt: skip
        return True

    def skip(self, direction: Direction, protocol: str, size: int) -> None:
        """Counts opaque bytes; one frame a direction and batch tells of them."""
        if size:
            self.opaque += size
            frames = self._opaque.setdefault(self.connection, {})
            before = frames.get(direction)
            frames[direction] = OpaqueFrame(
                connection=self.connection,
                time_ns=self.time_ns,
                direction=direction,
                protocol=protocol,
                bytes=size + (before.bytes if before else 0),
            )

    def malformed(self, direction: Direction, fault: Fault) -> None:
        """Its bytes count as opaque."""
        self.opaque += fault.size
        self.count(f"malformed_{fault.protocol}")
        self.emit(
            MalformedFrame(
                connection=self.connection,
                time_ns=self.time_ns,
                direction=direction,
                stream=fault.stream,
                protocol=fault.protocol,
                reason=fault.reason,
                bytes=fault.size,
            )
        )

    def gap(self, hole: Hole) -> None:
        """Counts the bytes; the parser tells whose they are."""
        add_counts(self.gaps, dict(hole.losses))

    def flush_opaque(self, connection: int) -> None:
        for frame in self._opaque.pop(connection, {}).values():
            self.emit(frame)

    def flush(self) -> None:
        for connection in tuple(self._opaque):
            self.flush_opaque(connection)

    def pieces(self) -> list[tuple[AnyFrame, ...]]:
        self.flush()
        return [tuple(frames) for frames in (*self._pieces, self.frames) if frames]


def add_counts(total: dict[str, int], counts: Mapping[str, int]) -> None:
    """In place."""
    for counter, amount in counts.items():
        total[counter] = total.get(counter, 0) + amount
