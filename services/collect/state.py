"""What a shard remembers: plain data, so that it can be written down and read back exactly.

Knows which facts an exchange gathers and which limits apply; what they mean is `pairing`'s.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from services.collect.redaction_streams import Veil
from services.collect.unpacking import Unpacking
from services.messages import (
    EndFrame,
    ExchangeLedger,
    Gap,
    GrpcFrame,
    InterimHead,
    RequestHead,
    ResponseHead,
    Role,
    Source,
    WebSocketFrame,
)

SECOND_NS = 1_000_000_000


class Limits(Struct, frozen=True, kw_only=True):
    """Per shard where nothing else is said."""

    body_bytes: int = 64 * 1024  # kept of one body, or of one part of a stream
    wait_ns: int = 600 * SECOND_NS  # for what is missing of an exchange, since its last frame
    part_ns: int = 5 * SECOND_NS  # an answer that lasts longer comes in parts, each as long
    part_messages: int = 512  # in one part
    coded_bytes: int = 256 * 1024  # of a coded body in parts, where only more of it can be decoded
    streams: int = 2_000  # exchanges that come in parts, open
    stream_wait_ns: int = 3600 * SECOND_NS  # for more of them, since their last frame
    exchanges: int = 20_000  # open
    exchanges_of_connection: int = 1_000  # open
    connections: int = 50_000
    buffered_bytes: int = 64 * 1024 * 1024
    gaps_of_exchange: int = 64
    interims_of_exchange: int = 16
    nodes: int = 4_096
    held_batches: int = 512  # behind a missing one; as much as parse sends without an answer
    held_bytes: int = 64 * 1024 * 1024
    remembered: int = 1_024  # evicted connections, and streams that ended without a request


class Carry(Struct, gc=False):
    """What a part of a body leaves to the next; `held` is decoded, but can't be shown alone."""

    veil: Veil
    unpacking: Unpacking | None = None
    held: bytes = b""

    def __repr__(self) -> str:
        return f"Carry({len(self.held)} bytes)"

    def size(self) -> int:
        unpacking = self.unpacking
        coded = 0 if unpacking is None else len(unpacking.coded) + len(unpacking.window)
        return len(self.held) + coded


class BodySoFar(Struct, gc=False):
    """`kept` bytes from `offset` on without a hole; `reached` is how far it is known. `offset` is
    where the part begins, in an exchange that comes in parts."""

    chunks: list[bytes] = []
    kept: int = 0
    reached: int = 0
    stopped: Literal["cap", "gap"] | None = None
    offset: int = 0
    carry: Carry | None = None

    def __repr__(self) -> str:
        return f"BodySoFar(kept={self.kept}, reached={self.reached})"

    def size(self) -> int:
        """In memory."""
        return self.kept if self.carry is None else self.kept + self.carry.size()


class Parts(Struct, gc=False):
    """An exchange that comes in parts. `given` so far; `news`: there is something for the next.
    What earlier parts told and the last one repeats: the first reason why bytes are missing, and
    how a WebSocket was closed."""

    since_ns: int
    given: int = 0
    news: bool = False
    lost: str = ""
    close: WebSocketFrame | None = None


class Exchange(Struct, gc=False):
    connection: int
    stream: int
    generation: int  # of the connection's stream numbers
    last_ns: int  # of its newest frame
    request: RequestHead | None = None
    response: ResponseHead | None = None
    request_body: BodySoFar | None = None
    response_body: BodySoFar | None = None
    request_end: EndFrame | None = None
    response_end: EndFrame | None = None
    interims: list[InterimHead] = []
    gaps: list[Gap] = []
    malformed: bool = False
    messages: list[GrpcFrame | WebSocketFrame] = []
    message_bytes: int = 0
    parts: Parts | None = None

    def size(self) -> int:
        """What of it is buffered."""
        asked, answered = self.request_body, self.response_body
        return (
            self.message_bytes
            + (0 if asked is None else asked.size())
            + (0 if answered is None else answered.size())
        )


class Connection(Struct, gc=False):
    source: Source
    epoch: int  # capture's, when it was last named
    node: str
    mid_connection: bool = False
    local: str | None = None
    peer: str | None = None
    role: Role | None = None
    generation: int = 0
    highest: list[int] = field(
        default_factory=lambda: [0, 0]
    )  # request streams begun, by parity: HTTP/2 pushes have the even
    streams: dict[int, int] = {}  # open stream -> exchange's number
    headless: int = 0  # open exchanges without their request
    unrequested: list[int] = []  # streams that ended without their request
    gaps: list[Gap] = []  # that no stream owns
    gaps_since: list[int] = []  # exchange number that was next when each of `gaps` came
    malformed: bool = False
    number: int = 0  # in the order in which they were admitted, which a state read back keeps


class NodeProgress(Struct, gc=False):
    """`folded` is the newest (epoch, raw counter, piece); `epoch`, `counter` are its ticks'."""

    folded: tuple[int, int, int] = (0, 0, -1)
    epoch: int = 0
    counter: int = 0
    now_ns: int = 0
    swept_ns: int = 0


class ShardState(Struct):
    """`exchanges` is in the order in which they began, under running numbers."""

    shard: int
    limits: Limits = Limits()
    counter: int = 0
    begun: int = 0
    connections: dict[int, Connection] = {}
    exchanges: dict[int, Exchange] = {}
    buffered: int = 0
    nodes: dict[str, NodeProgress] = {}
    evicted: dict[int, int] = {}  # connection -> generation to go on with
    complete: int = 0
    partial: dict[str, int] = {}
    counters: dict[str, int] = {}
    held: dict[int, bytes] = {}  # batches behind a missing counter
    held_bytes: int = 0
    interruption: str = ""  # of the stream; why, if batches turn out to be missing now
    answered: dict[int, None] = {}  # exchanges with a response head that don't come in parts
    streams: dict[int, None] = {}  # exchanges that do
    admitted: int = 0
    touched: set[int] = set()  # connections that have changed since the last snapshot

    def count(self, name: str, by: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + by

    def ledger(self) -> ExchangeLedger:
        return ExchangeLedger(
            begun=self.begun,
            complete=self.complete,
            partial=dict(self.partial),
            open=len(self.exchanges),
        )
