"""bpf/shared.h in Python: where things lie in the memory that the kernel shares with the reader.

A unit test compiles the header and compares.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from services.messages import KERNEL_LOSS_REASONS, Losses
from services.records import MAX_PAYLOAD, RECORD_SIZE

PIECE = MAX_PAYLOAD
REASONS = len(KERNEL_LOSS_REASONS)
RECORD_ROOM = RECORD_SIZE + PIECE
PAGE = 4096
RING_HEADER = 2 * PAGE
FLAG_DISCARDED, FLAG_CANARY = 1, 2

# Indexes of 64-bit words in struct ring.
HEAD, COMMITTED, WRAP, DISCARDED = 0, 1, 2, 3
SEEN_BYTES, SEEN_RECORDS, SUBMITTED_BYTES, CONNECTIONS, LOST = 8, 9, 10, 11, 12
TAIL = PAGE // 8

# Indexes of 64-bit words in struct shared.
WAITING = 0
SHARED_COUNTERS = (
    "calls_refused", "connections_refused", "control_refused", "tails_refused",
    "connections_shed", "wire_refused",
    "calls_filtered", "calls_unmatched", "births_refused", "names_refused",
    "calls_late", "late_bytes",
)  # fmt: skip
CLASSES, WITHHELD = 16, 16
TAKEN = WITHHELD + CLASSES
SHARED_SIZE = PAGE


class Verdict(IntEnum):
    DEFAULT = 0
    INCLUDE = 1
    EXCLUDE = 2
    CANARY = 3


VERDICT_MASK, GENERATION_MASK = 3, 0xF8


class ControlKind(IntEnum):
    BELL = 0
    OPENED = 1
    ADDRESSED = 2
    CLOSED = 3
    EXITED = 4


CLOSE_REASONS = ("freed", "reused", "shed")
OPENED_MID_CONNECTION, OPENED_SHED = 1, 2

# u8 kind · u8 detail · u16 shard · u32 tgid · u64 connection · u64 boot_ns · u64 ssl · 56 bytes
CONTROL = struct.Struct("<BBHIQQQ56s")
OPENED = struct.Struct("<Q16sQ")  # target, process, cgroup
ADDRESSES = struct.Struct("<16s16sHHH2x")  # local, peer, their ports, family
COUNTS = struct.Struct("<QQ10I")  # offsets and losses of both directions
CONNECTION_KEY = struct.Struct("<QII")
CONNECTION = struct.Struct("<QQQQ10IIBBBBII")
TAIL_VALUE = struct.Struct("<QQ10IQ")
KERNEL_LAYOUT = struct.Struct("<18I")
NAME_SIZE = 16
NAME = struct.Struct("<16sQ")  # and its class

# TLS on the wire: u32 tgid · u32 fd · u8 flags · u8 type · u8 minor version · u32 window · name
WIRE_EVENT = struct.Struct("<IIBBBxI16s")
WIRE_RECEIVED, WIRE_SOCKET, WIRE_HELLO, WIRE_QUIC, WIRE_USED = 1, 2, 4, 8, 16


def ring_stride(size: int) -> int:
    """Bytes from one ring to the next in its map."""
    return RING_HEADER + size + RECORD_ROOM + PAGE - RECORD_ROOM % PAGE


class Counts(NamedTuple):
    """How far both directions of a connection got, and what each lost on the way."""

    egress: int
    ingress: int
    egress_lost: Losses
    ingress_lost: Losses


def counts(egress: int, ingress: int, lost: tuple[int, ...]) -> Counts:
    """`lost` is that of both directions, by reason."""
    return Counts(egress, ingress, Losses(*lost[:REASONS]), Losses(*lost[REASONS:]))


def default_verdict(pids: tuple[int, ...]) -> Verdict:
    return Verdict.EXCLUDE if pids else Verdict.INCLUDE
