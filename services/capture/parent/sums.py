"""The kernel's sums over shards and lives of the child, and capture's own equation. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.messages import KERNEL_LOSS_REASONS, BytesLedger, Losses, ShardTotals

_NONE = Losses()


@dataclass(frozen=True, slots=True)
class Sums:
    seen: int = 0
    records: int = 0
    submitted: int = 0
    connections: int = 0
    lost: Losses = _NONE

    def plus(self, other: Sums) -> Sums:
        lost = (
            getattr(self.lost, name) + getattr(other.lost, name) for name in KERNEL_LOSS_REASONS
        )
        return Sums(
            self.seen + other.seen,
            self.records + other.records,
            self.submitted + other.submitted,
            self.connections + other.connections,
            Losses(*lost),
        )

    def counters(self) -> dict[str, int]:
        found = {
            "seen_bytes": self.seen,
            "seen_records": self.records,
            "submitted_bytes": self.submitted,
            "connections": self.connections,
        }
        for name in KERNEL_LOSS_REASONS:
            found[f"lost_{name}_bytes"] = getattr(self.lost, name)
        return found


def total(shards: Iterable[ShardTotals]) -> Sums:
    found = Sums()
    for shard in shards:
        found = found.plus(
            Sums(
                shard.seen_bytes,
                shard.seen_records,
                shard.submitted_bytes,
                shard.connections,
                shard.lost,
            )
        )
    return found


def ledger(sums: Sums, stored: int, overflowed: int, *, ended: bool) -> BytesLedger:
    """What the programs saw is on the bus (`parsed` here), lost for a reason, or under way. Where
    the child has ended, nothing is: what it had not told is lost with it."""
    gaps = {
        name: size
        for name in KERNEL_LOSS_REASONS
        if name != "shed" and (size := getattr(sums.lost, name))
    }
    if overflowed:
        gaps["spool_overflow"] = overflowed
    left = sums.seen - stored - sum(gaps.values()) - sums.lost.shed
    if ended and left:
        gaps["capture_restart"] = left
    in_flight = 0 if ended else left
    return BytesLedger(
        seen=sums.seen, parsed=stored, gaps=gaps, shed=sums.lost.shed, in_flight=in_flight
    )


def joined(first: BytesLedger, second: BytesLedger) -> BytesLedger:
    gaps = {
        reason: first.gaps.get(reason, 0) + second.gaps.get(reason, 0)
        for reason in first.gaps | second.gaps
    }
    return BytesLedger(
        seen=first.seen + second.seen,
        parsed=first.parsed + second.parsed,
        gaps=gaps,
        shed=first.shed + second.shed,
        in_flight=first.in_flight + second.in_flight,
    )
