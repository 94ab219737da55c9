"""What capture's parent and its child say to each other, and how it is framed.

The rings are memory that both have mapped: a look tells where in them records lie, and no byte of
plaintext goes through the channel.
"""

from __future__ import annotations

import struct

import msgspec
from msgspec import Struct

from services.capture.connections import News
from services.capture.layout import Verdict
from services.messages import Container, ShardTotals, Sighting, Target

LENGTH = struct.Struct("<I")
SPARE = -1  # the spare ring's number; the others are shards

Span = tuple[int, int]  # where in a ring's data it begins, and how long it is


class Shape(Struct, frozen=True):
    """The constants that the object is compiled with; rings are powers of two, in bytes."""

    shards: int
    shard_ring: int
    spare_ring: int
    connections: int
    salt: int
    default: Verdict


# --- to the child ---------------------------------------------------------------------------------


class Begin(Struct, frozen=True, tag=True):
    """`parent` is never captured; `rings` say how the object is compiled."""

    rings: Shape
    parent: int
    pids: tuple[int, ...]
    exclude_pids: tuple[int, ...]
    node: str
    classes: dict[str, int] = {}


class Follow(Struct, frozen=True, tag=True):
    """All targets that are to be probed from now on, and what is known of containers."""

    targets: tuple[Target, ...]
    containers: tuple[Container, ...] = ()


class Classify(Struct, frozen=True, tag=True):
    """The class that each of these process names is in."""

    classes: dict[str, int]


class Look(Struct, frozen=True, tag=True):
    """Read the rings at once; the answer has this number."""

    number: int


class Stop(Struct, frozen=True, tag=True):
    """Detach, read a last time, end."""


# --- to the parent --------------------------------------------------------------------------------


class Attached(Struct, frozen=True, tag=True):
    """By targets' keys: what is probed now, and why the others are not."""

    keys: tuple[str, ...]
    failed: dict[str, str]


class Sighted(Struct, frozen=True, tag=True):
    """For discovery. `refused` and `missed` are all that were too many until now: sightings, and
    mappings that the kernel had no room to tell of."""

    sightings: tuple[Sighting, ...]
    refused: int = 0
    missed: int = 0


class OnWire(Struct, frozen=True, kw_only=True):
    """A process that is proven to speak TLS in calls that no probe sees: over TCP, or as QUIC.
    `used`: of a probed library too, whose bytes it may carry to the socket by itself; `unused`:
    application data went for a while, and none of a probed library's."""

    pid: int
    start_boot_ns: int
    process: str
    executable: str = ""
    tcp: bool = False
    quic: bool = False
    used: bool = False
    unused: bool = False


class Overheard(Struct, frozen=True, tag=True):
    """`evicted` and `unconfirmed` are all until now: processes that were forgotten for others, and
    records on descriptors that were gone before anybody looked."""

    found: tuple[OnWire, ...]
    evicted: int = 0
    unconfirmed: int = 0


class Read(Struct, frozen=True, array_like=True):
    """Of one ring: records end at `next`, and what lies below it is to be freed."""

    ring: int
    freed: tuple[Span, ...]
    next: int


class Pulse(Struct, frozen=True, array_like=True):
    """How often the canary was sent and seen, where it can be seen at all."""

    visible: bool
    sent: int
    seen: int


class Looked(Struct, frozen=True, tag=True):
    """One round. `spans` are each shard's records by ring, in the order in which they are sent on;
    `totals` were read before them; `pulse` stands in ticks."""

    boot_ns: int
    spans: dict[int, tuple[tuple[int, tuple[Span, ...]], ...]]
    reads: tuple[Read, ...]
    news: dict[int, News]
    totals: dict[int, ShardTotals]
    answers: int = 0
    pulse: Pulse | None = None
    final: bool = False
    live: int = 0  # connections
    shed: dict[int, int] = {}  # living connections that are shed, by process
    users: dict[int, tuple[str, str]] = {}  # by process: its name, and the library of one of them


ToChild = Begin | Classify | Follow | Look | Stop
ToParent = Attached | Looked | Overheard | Sighted

_encoder = msgspec.msgpack.Encoder()
_to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_to_parent: msgspec.msgpack.Decoder[ToParent] = msgspec.msgpack.Decoder(ToParent)


def framed(message: ToChild | ToParent) -> bytes:
    packed = _encoder.encode(message)
    return LENGTH.pack(len(packed)) + packed


def to_child(data: bytes) -> ToChild:
    return _to_child.decode(data)


def to_parent(data: bytes) -> ToParent:
    return _to_parent.decode(data)


class KernelError(OSError):
    """What the kernel or bcc refuses, in one line with the mend."""


class Loaded(msgspec.Struct, frozen=True):
    """What the child hands over: names in the order of the descriptors, or why there are none."""

    programs: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    tracepoints: tuple[tuple[str, int], ...] = ()
    problem: str = ""
