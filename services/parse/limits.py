"""Everything that can grow in parse, and how far. Each limit has a counter where it is enforced.

All are per shard or smaller; they are part of the shard's state, so that a replay meets the same.
"""

from __future__ import annotations

from msgspec import Struct

SECOND = 1_000_000_000


class Limits(Struct, frozen=True, kw_only=True):
    body: int = 64 * 1024  # content bytes of a body that are passed on; the rest is counted
    head: int = 64 * 1024  # a header block: bytes on the wire, and characters once decoded
    inflated: int = 32 * 1024 * 1024  # of one WebSocket message; beyond it, it is a bomb
    pending: int = 4 * 1024 * 1024  # bytes of a direction that wait behind a hole
    shard_pending: int = 64 * 1024 * 1024  # the same, of all directions of a shard
    buffered: int = 8 * 1024 * 1024  # what the state of a connection may take: messages in hand,
    # windows of WebSocket's compression, header tables, heads that are not whole
    shard_buffered: int = 128 * 1024 * 1024  # the same, of all connections of a shard
    connections: int = 20_000
    tombstones: int = 20_000  # connections given up while they lived: their offsets only
    streams: int = 1_000  # HTTP/2 streams that are open on one connection
    early_bytes: int = 256 * 1024  # of a response whose request has not arrived yet
    waiting: int = 1_000  # HTTP/1 requests without a response on one connection
    nodes: int = 4_096
    held_batches: int = 256  # of a node, behind a missing counter
    held_bytes: int = 16 * 1024 * 1024
    stuck_ns: int = 10 * SECOND  # a hole that nothing explains is a gap after this much input time
    expired_ns: int = 2 * SECOND  # likewise where batches of the node are known to be lost
    idle_ns: int = 3600 * SECOND  # a connection without a byte for this long is forgotten
    request_ns: int = SECOND  # how long a response waits for its request to arrive
    undecided_bytes: int = 1024 * 1024  # joined in the middle: looked at before giving up
    piece_bytes: int = 900 * 1024  # of frames in one message
