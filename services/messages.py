"""The contract: every struct that crosses a process boundary, and nothing else.

Structs are frozen and keyword-only; a union is tagged; a new field has a default; no field changes
its meaning. Times are Unix nanoseconds unless a name says `boot`; sizes and offsets are bytes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from msgspec import Struct

# --- words that several messages share ------------------------------------------------------------


class Direction(IntEnum):
    """Seen from the traced process."""

    EGRESS = 0
    INGRESS = 1


Side = Literal["request", "response"]
Role = Literal["client", "server"]
Protocol = Literal["http/1.0", "http/1.1", "http/2"]
WebSocketType = Literal["text", "binary", "ping", "pong", "close"]

# The kernel counts lost bytes by these reasons, in this order (record.h names the same).
KERNEL_LOSS_REASONS = ("ring_full", "ring_refused", "unreadable", "shed", "sent_by_kernel")

# A name or value of None is unknown, never empty: HPACK state from before the attach.
Headers = tuple[tuple[str | None, str | None], ...]


class Source(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who owns a connection. Outside of Kubernetes: namespace `host`, workload = process.

    `container_id` is the engine's own; `container` (its name) and `image` are there as far as the
    engine's state can be read."""

    node: str
    namespace: str
    pod: str = ""
    container: str = ""
    workload: str = ""
    pid: int = 0
    process: str = ""
    tls: str = ""
    container_id: str = ""
    image: str = ""


class Losses(Struct, frozen=True, array_like=True):
    """Bytes lost in the kernel, by reason, in the order of KERNEL_LOSS_REASONS."""

    ring_full: int = 0
    ring_refused: int = 0
    unreadable: int = 0
    shed: int = 0
    sent_by_kernel: int = 0  # a file that the kernel encrypted: never in the process's memory

    def counts(self) -> tuple[int, int, int, int, int]:
        return (
            self.ring_full, self.ring_refused, self.unreadable, self.shed, self.sent_by_kernel,
        )  # fmt: skip

    def total(self) -> int:
        return sum(self.counts())


# --- discovery -> capture: plainwire.targets.<node> (JSON) ----------------------------------------

Operation = Literal[
    "read", "write", "new", "clear", "free", "share", "duplicate",
    "bios", "wbio", "handshake", "cipher",
]  # fmt: skip
Abi = Literal[
    "returns_length", "length_pointer", "length_pointer_fifth", "sent_by_kernel", "no_buffer",
    "counted_before", "object", "object_pointer", "objects", "go",
]  # fmt: skip
TlsFamily = Literal["openssl", "gnutls", "go"]


class Site(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One probe: where it sits, what it sees there, what it costs and why.

    `enter` sees the arguments in the registers of the call; `exit` sees the result in the return
    register. `abi` says where the length of a transfer is: `returns_length` (SSL_read: the result),
    `length_pointer` (SSL_read_ex and the internal functions: result 1, length behind the fourth
    argument) or `length_pointer_fifth` (SSL_write_ex2: behind the fifth). `sent_by_kernel` is a
    transfer whose bytes the process never had (SSL_sendfile: the result, of 64 bits); `no_buffer`
    one whose bytes lie in the library's own memory (gnutls_record_recv_packet: the result), and
    `counted_before` one of bytes that calls before it handed over (gnutls_record_uncork). `object`
    is a call whose only interest is its TLS object, the first argument of its entry or its result;
    with `object_pointer` it is behind the first argument, at the exit.
    `go` is a method of Go's crypto/tls.Conn, in Go's own registers: `new` a server's handshake,
    `clear` a client's first, a closure.
    """

    operation: Operation
    event: Literal["enter", "exit"]
    abi: Abi
    function: str  # the symbol, or the internal function's caller: "SSL_read_ex -> internal"
    kind: Literal["uprobe", "uretprobe"]
    address: int  # ELF virtual address
    offset: int  # file offset of the same byte
    cost: Literal["emulated", "single_step", "uretprobe"]
    fallback: str = ""  # empty, or why nothing cheaper could be proven
    frame: int = 0  # added to the stack pointer there it gives the one at the call's first byte
    keeps_arguments: bool = False  # of Go's: they lie above the return address there, proven


class FileIdentity(Struct, frozen=True, kw_only=True, order=True):
    """The real inode, below overlayfs."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    build_id: str = ""

    def key(self) -> str:
        return f"{self.device:x}-{self.inode:x}"


class Target(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One TLS library or executable to probe, with resolved sites."""

    identity: FileIdentity
    path: str  # opens the file from the host: /proc/<pid>/root/... or a host path
    name: str  # what a user calls it: /usr/lib/x86_64-linux-gnu/libssl.so.3
    family: TlsFamily
    library: str  # "openssl 3.0.19", "go crypto/tls go1.26.8"
    sites: tuple[Site, ...]
    omitted: tuple[tuple[str, str], ...] = ()  # (function, why no site of it is safe)


class TlsProcess(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A process that has TLS code mapped, and by which target it is covered, if by any."""

    pid: int
    start_boot_ns: int  # with the pid unique on a node and boot
    process: str
    target: str = ""  # FileIdentity.key() or empty
    library: str = ""
    reason: str = ""  # why not covered: "no symbols in …"
    mend: str = ""
    seen_on_wire: bool = False  # named because TLS of it was sighted
    beside: str = ""  # other TLS code that is in it, where that was looked for
    container_id: str = ""


class Container(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What its engine says of a container."""

    id: str
    name: str = ""
    image: str = ""


class Allowance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What capturing a workload may cost: which connections are shed first, and from how many KiB
    a second on (0: no limit of its own)."""

    workload: str
    priority: Literal["low", "normal", "high"] = "normal"
    kib_per_second: int = 0


class Targets(Struct, frozen=True, kw_only=True):
    """The full desired state of a node; the last one wins."""

    node: str
    time_ns: int
    targets: tuple[Target, ...]
    processes: tuple[TlsProcess, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    containers: tuple[Container, ...] = ()
    untold_targets: int = 0  # that found no room in one message: they are not probed
    untold_processes: int = 0  # likewise: coverage doesn't have them


# --- capture -> discovery: plainwire.sightings.<node> (JSON, not stored) --------------------------


class Sighting(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A process worth a look at once: it has mapped a file executable (which is also what an exec
    does) that was not met before, or not for a while; or TLS goes over its sockets that no probed
    call explains. Of the latter it is said who it was, because it may have ended."""

    pid: int
    kind: Literal["mapped", "tls_on_wire"] = "mapped"
    start_boot_ns: int = 0
    process: str = ""
    executable: str = ""


class Sightings(Struct, frozen=True, kw_only=True):
    """Hints: the periodic scan finds what a lost one would have told."""

    node: str
    sightings: tuple[Sighting, ...]


# --- capture -> people: plainwire.coverage.<node> (JSON) ------------------------------------------

CoverageState = Literal["captured", "partly", "excluded", "not_captured"]


class CoverageEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    pid: int
    process: str
    state: CoverageState
    library: str = ""
    file: str = ""
    reason: str = ""  # what is missed, and why; or the rule that excludes it
    mend: str = ""
    seen_on_wire: bool = False  # in calls that no probe sees
    evidence: str = ""  # what of it was seen there
    since_ns: int = 0  # when it was seen there first
    ended: bool = False  # meanwhile; it is kept for a minute
    pending: bool = False  # discovery hasn't said yet what code it is
    container_id: str = ""


class Coverage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    node: str
    time_ns: int
    epoch: int
    attached: tuple[Target, ...]
    processes: tuple[CoverageEntry, ...]
    failed: tuple[tuple[str, str], ...] = ()  # (file, why its probes could not be attached)
    degraded: str = ""  # why nothing or not all is captured, beyond what `processes` say
    admitted: float = 1.0  # the share of new connections that is captured
    shed_connections: int = 0  # since this epoch began: not captured, to stay within the budget
    shed_bytes: int = 0
    untold_targets: int = 0  # files that discovery's one message had no room for: not probed
    untold_processes: int = 0  # that discovery's message or this one had no room for
    untold_files: int = 0  # of `attached` and `failed`, that this message had no room for
    untold_sites: int = 0  # likewise of the sites of `attached`


# --- capture -> parse: plainwire.raw.<shard>.<node>; records.py frames head and records -----------


class Opened(Struct, frozen=True, kw_only=True, array_like=True):
    """A connection that is new, or has not been named for a while."""

    connection: int
    source: Source
    first_boot_ns: int
    mid_connection: bool = False  # begun before the probes saw it
    local: str | None = None  # only where proven
    peer: str | None = None


class Final(Struct, frozen=True, kw_only=True, array_like=True):
    """How far one direction of a connection got: next offset, and what was lost on the way."""

    offset: int
    lost: Losses


class Closed(Struct, frozen=True, kw_only=True, array_like=True):
    connection: int
    boot_ns: int
    egress: Final
    ingress: Final
    reason: Literal["freed", "exited", "evicted", "reused", "shed"] = "freed"


class Tail(Struct, frozen=True, kw_only=True, array_like=True):
    """A loss since the last tick on a connection that lives: so that a lost tail has its owner."""

    connection: int
    direction: Direction
    final: Final


class ShardTotals(Struct, frozen=True, kw_only=True, array_like=True):
    """Cumulative for one shard in one epoch, counted in the kernel."""

    seen_bytes: int = 0
    seen_records: int = 0
    submitted_bytes: int = 0
    lost: Losses = Losses()
    connections: int = 0


class RawHead(Struct, frozen=True, kw_only=True):
    """The head of a raw batch; an empty batch is a tick. Message id: `raw_id()`."""

    node: str
    epoch: int  # grows whenever the kernel's state was made anew
    shard: int
    counter: int  # of this shard's batches in this epoch, from 1
    lowest_held: int  # counters below it that did not arrive are lost, others are on their way
    boot_ns: int  # watermark: when the rings were read
    anchor_ns: int  # Unix time minus boot time
    totals: ShardTotals
    opened: tuple[Opened, ...] = ()
    closed: tuple[Closed, ...] = ()
    tails: tuple[Tail, ...] = ()
    final: bool = False  # the probes are detached: nothing follows in this epoch
    spool_lost_bytes: int = 0  # cumulative: bytes in batches that the spool gave up


def raw_id(head: RawHead) -> str:
    return f"{head.node}/{head.epoch}/{head.shard}/{head.counter}"


class NodeSilent(Struct, frozen=True, kw_only=True):
    """Parse to itself, in RAW: by the clock of the shard's owner nothing has come from this node
    since this batch. Message id: `silence_id()`. Void where something has come before it."""

    node: str
    shard: int
    epoch: int
    counter: int


def silence_id(silent: NodeSilent) -> str:
    return f"silent/{silent.node}/{silent.epoch}/{silent.shard}/{silent.counter}"


# --- parse -> collect: plainwire.frames.<shard> (msgpack) -----------------------------------------


class Frame(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    connection: int
    time_ns: int


class OpenFrame(Frame, frozen=True, kw_only=True, array_like=True, tag="open"):
    source: Source
    mid_connection: bool = False
    local: str | None = None
    peer: str | None = None


class RequestHead(Frame, frozen=True, kw_only=True, array_like=True, tag="request"):
    """`time_ns` is the head's first byte. `direction` is the one that the request travelled; of a
    `pushed` one, which the server made up and sent, the one that it would have."""

    stream: int  # HTTP/2 stream id, or the ordinal on an HTTP/1 connection, from 1
    protocol: Protocol
    direction: Direction
    method: str | None
    scheme: str | None
    authority: str | None
    path: str | None  # the request target as sent, query included
    headers: Headers
    hpack_partial: bool = False
    anomaly: str = ""  # wrong, but read all the same: "content-length and transfer-encoding"
    pushed: bool = False


class ResponseHead(Frame, frozen=True, kw_only=True, array_like=True, tag="response"):
    """`upgraded`: what is spoken on this stream from here on, instead of bodies: "websocket",
    "tunnel" or another token. The request's end is then told with its head, the response's when
    a WebSocket ends, else at once; both have the size 0."""

    stream: int
    protocol: Protocol
    direction: Direction
    status: int | None
    headers: Headers
    hpack_partial: bool = False
    anomaly: str = ""
    upgraded: str = ""


class InterimHead(Frame, frozen=True, kw_only=True, array_like=True, tag="interim"):
    """A 1xx response; 101 ends HTTP on an HTTP/1.1 connection and has `upgraded`, as above."""

    stream: int
    status: int
    headers: Headers
    upgraded: str = ""


class BodyFrame(Frame, frozen=True, kw_only=True, array_like=True, tag="body"):
    """`size` content bytes at `offset` of the body; `data` is the prefix that is kept (cap).

    A body that lasts is given another cap's worth every 5 s, and one of a kind that streams (SSE)
    has no cap: `data` may then go on at a higher offset than where it stopped. The bytes of gRPC
    are counted here and stand in GrpcFrame.
    """

    stream: int
    side: Side
    offset: int
    size: int
    data: bytes = b""

    def __repr__(self) -> str:
        return f"BodyFrame({self.stream}, {self.side}, {self.offset}+{self.size})"


class EndFrame(Frame, frozen=True, kw_only=True, array_like=True, tag="end"):
    """One side of an exchange is complete; `time_ns` is its last byte, `size` its content bytes.

    `torn`: a loss took bytes that may have been its, so that its size is not known.
    """

    stream: int
    side: Side
    size: int
    trailers: Headers = ()
    torn: bool = False


class GrpcFrame(Frame, frozen=True, kw_only=True, array_like=True, tag="grpc"):
    """A message of gRPC or gRPC-Web; `time_ns` is its first byte, `index` counts a side's from 0.

    `size` and `data` (the prefix that is kept) are as sent: where `encoding` is not None the
    message is compressed so, by itself. gRPC-Web's trailers are the EndFrame's.
    """

    stream: int
    side: Side
    index: int
    size: int
    data: bytes = b""
    encoding: str | None = None
    truncated_by: Literal["cap", "gap", "close"] | None = None

    def __repr__(self) -> str:
        return f"GrpcFrame({self.stream}, {self.side}, {self.index}, {self.size})"


class WebSocketFrame(Frame, frozen=True, kw_only=True, array_like=True, tag="websocket"):
    """A message or control frame of WebSocket (RFC 6455); `time_ns` is its first byte.

    Unmasked, joined and inflated: `size` counts so, None where that is impossible, because what it
    refers to came before the first byte seen ("context"), it is more than may be inflated ("bomb"),
    or what carried it ended within it ("close").
    `data` is the prefix that is kept; of a close it is the reason without the code.
    """

    stream: int
    sender: Role
    kind: WebSocketType
    size: int | None
    data: bytes = b""
    compressed: bool = False  # it was
    truncated_by: Literal["cap", "gap", "bomb", "context", "close"] | None = None
    close_code: int | None = None

    def __repr__(self) -> str:
        return f"WebSocketFrame({self.stream}, {self.sender}, {self.kind}, {self.size})"


class ResetFrame(Frame, frozen=True, kw_only=True, array_like=True, tag="reset"):
    """RST_STREAM, or a stream that GOAWAY refused."""

    stream: int
    code: int
    direction: Direction


class GapFrame(Frame, frozen=True, kw_only=True, array_like=True, tag="gap"):
    """Bytes that are known to be missing. Without a stream they can't be owned by one exchange.

    `part` is request.head, request.body, response.head, response.body, egress or ingress; `offset`
    counts in the body for a body, in the direction's bytes elsewhere.
    """

    stream: int | None
    part: str
    offset: int
    bytes: int
    reason: str


class MalformedFrame(Frame, frozen=True, kw_only=True, array_like=True, tag="malformed"):
    """Bytes that break their protocol: what and how many, never a sample of them."""

    direction: Direction
    stream: int | None
    protocol: str
    reason: str
    bytes: int


class OpaqueFrame(Frame, frozen=True, kw_only=True, array_like=True, tag="opaque"):
    """Plaintext that is no HTTP (or no longer is, after 101 or CONNECT): counted, not kept.

    `protocol` is named where it is proven, else "unknown".
    """

    direction: Direction
    protocol: str  # "unknown", "websocket", "tunnel", "postgres" …
    bytes: int


class CloseFrame(Frame, frozen=True, kw_only=True, array_like=True, tag="close"):
    """No more frames of this connection: freed, exited, evicted, reused, capture_restart,
    node_silent."""

    reason: str


class TickFrame(Frame, frozen=True, kw_only=True, array_like=True, tag="tick"):
    """A node's input is folded up to `counter` of `epoch`. `connection` is 0."""

    node: str
    epoch: int
    counter: int
    final: bool = False


AnyFrame = (
    OpenFrame
    | RequestHead
    | ResponseHead
    | InterimHead
    | BodyFrame
    | EndFrame
    | GrpcFrame
    | WebSocketFrame
    | ResetFrame
    | GapFrame
    | MalformedFrame
    | OpaqueFrame
    | CloseFrame
    | TickFrame
)


class FrameBatch(Struct, frozen=True, kw_only=True, array_like=True):
    """What one raw message gave, in pieces that fit the bus. Message id: `<origin>/<piece>`."""

    shard: int
    counter: int  # running, per shard, from 1: the order in which collect folds
    origin: str  # the raw message's id
    piece: int
    frames: tuple[AnyFrame, ...]


# --- collect -> people: plainwire.witnesses.<namespace>.<workload> (JSON) -------------------------

WitnessState = Literal["open", "complete", "no_response", "no_request", "reset", "partial"]


class Body(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`size` counts what passed on the wire after de-chunking, None where it can't be known.

    `captured` is what of that was kept; `text` or `base64` shows it, content-decoded where
    `content_encoding` names codings and `decoded` says so. In a part of a stream both count from
    `offset` on; `truncated_by` coding: what came before is needed and no longer there.
    """

    size: int | None
    captured: int
    truncated: bool
    truncated_by: Literal["cap", "gap", "bomb", "coding"] | None = None
    text: str | None = None
    base64: str | None = None
    content_encoding: str | None = None  # as sent
    decoded: bool = False  # the content coding is undone in what is shown
    offset: int = 0

    def __repr__(self) -> str:
        return f"Body(size={self.size}, captured={self.captured})"


class Request(Struct, frozen=True, kw_only=True, omit_defaults=True):
    method: str | None
    scheme: str | None
    authority: str | None
    path: str | None
    headers: Headers
    trailers: Headers
    body: Body
    hpack: Literal["partial"] | None = None
    pushed: bool = False


class Interim(Struct, frozen=True, kw_only=True, omit_defaults=True):
    status: int
    headers: Headers = ()


class Response(Struct, frozen=True, kw_only=True, omit_defaults=True):
    status: int | None
    headers: Headers
    trailers: Headers
    body: Body
    interim: tuple[Interim, ...] = ()
    hpack: Literal["partial"] | None = None


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"sender": "from"}):
    """Of gRPC (`type` "message") or WebSocket; `size` as sent for gRPC, inflated for WebSocket."""

    sender: Role
    time: str
    type: str
    size: int | None
    captured: int
    truncated: bool = False
    truncated_by: Literal["cap", "gap", "bomb", "context", "close"] | None = None
    text: str | None = None
    base64: str | None = None
    encoding: str | None = None  # as sent
    decoded: bool = False  # that is undone in what is shown

    def __repr__(self) -> str:
        return f"Message({self.sender}, {self.type}, {self.size})"


class Grpc(Struct, frozen=True, kw_only=True, omit_defaults=True):
    service: str | None
    method: str | None
    status: int | None
    message: str | None = None  # grpc-message
    messages: tuple[Message, ...] = ()


class WebSocket(Struct, frozen=True, kw_only=True, omit_defaults=True):
    messages: tuple[Message, ...]
    close_code: int | None = None
    close_reason: str | None = None


class WitnessConnection(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str  # 16 hex digits
    stream: int
    local: str | None = None
    peer: str | None = None
    mid_connection: bool = False


class Timing(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 3339 with nanoseconds; latency = response's first byte - request's last byte, signed."""

    request_start: str | None = None
    request_end: str | None = None
    response_start: str | None = None
    response_end: str | None = None
    latency_ms: float | None = None


class Redacted(Struct, frozen=True, kw_only=True):
    count: int = 0
    rules: tuple[str, ...] = ()


class Gap(Struct, frozen=True, kw_only=True, rename={"part": "in"}):
    part: str  # request.head, request.body, response.head, response.body, egress, ingress
    offset: int
    bytes: int
    reason: str


class Trace(Struct, frozen=True, kw_only=True, omit_defaults=True):
    trace_id: str
    span_id: str
    parent_span_id: str | None = None  # the application's, where the request carried traceparent
    sampled: bool = True


class Witness(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One exchange, paired and redacted. Bus message id: `<id>/<part>`."""

    id: str
    part: int
    final: bool
    protocol: str
    role: Role
    state: WitnessState
    source: Source
    connection: WitnessConnection
    request: Request | None
    response: Response | None
    timing: Timing
    redacted: Redacted
    gaps: tuple[Gap, ...]
    trace: Trace
    # What made it reset or partial, besides gaps; of a complete one, what cut its request short.
    partial_reasons: tuple[str, ...] = ()
    anomalies: tuple[str, ...] = ()  # wrong, but read all the same
    grpc: Grpc | None = None
    websocket: WebSocket | None = None


# --- what every service answers about itself: nats micro STATS data, endpoint `ledger` ------------


class Position(Struct, frozen=True, kw_only=True):
    """Up to which of a node's raw batches a shard is folded."""

    node: str
    shard: int
    epoch: int
    counter: int


class UnknownInterval(Struct, frozen=True, kw_only=True):
    """Capture was not there: bytes unknown between its last tick and the next epoch's first."""

    node: str
    from_ns: int
    to_ns: int


class BytesLedger(Struct, frozen=True, kw_only=True):
    """seen == parsed + opaque + sum(gaps) + shed + in_flight, exactly."""

    seen: int = 0
    parsed: int = 0
    opaque: int = 0
    gaps: dict[str, int] = {}
    shed: int = 0
    in_flight: int = 0
    unknown: tuple[UnknownInterval, ...] = ()


class ExchangeLedger(Struct, frozen=True, kw_only=True):
    """begun == complete + sum(partial) + filtered + open, exactly."""

    begun: int = 0
    complete: int = 0
    partial: dict[str, int] = {}
    filtered: int = 0
    open: int = 0


class ShardStatus(Struct, frozen=True, kw_only=True):
    """One shard in its owner's hands: the last message folded, how many wait behind it, and how old
    and large the snapshot is that a successor would begin with."""

    shard: int
    position: int
    lag: int
    snapshot_age_ms: int
    snapshot_bytes: int


class ServiceLedger(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One replica's sums. A service fills in what it alone knows."""

    service: str
    node: str = ""
    shards: tuple[int, ...] = ()
    positions: tuple[Position, ...] = ()
    bytes: BytesLedger | None = None
    exchanges: ExchangeLedger | None = None
    counters: dict[str, int] = {}
    replica: str = ""
    owned: tuple[ShardStatus, ...] = ()
