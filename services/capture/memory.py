"""The memory that the programs share with us, mapped: rings, the shared page, verdicts.

Parent and child have it mapped alike; it lives as long as either of them. Knows no BPF calls.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path

from services.capture import layout
from services.capture.channel import SPARE, Shape
from services.capture.layout import Verdict
from services.capture.rings import Ring
from services.messages import KERNEL_LOSS_REASONS, Losses, ShardTotals

MAPS = ("shard_rings", "spare_rings", "shared", "marks")


class MemoryRefused(OSError):
    """One line with the mend."""


class Marks:
    """A byte of each process, `marks` in the programs, and found as they find it: of more processes
    than there are bytes (pid_max was raised since) some share one."""

    def __init__(self, of: memoryview) -> None:
        self._of, self._mask = of, len(of) - 1  # as many as a power of two

    def verdict(self, pid: int) -> Verdict:
        return Verdict(self._of[pid & self._mask] & layout.VERDICT_MASK)

    def generation(self, pid: int) -> int:
        """Another one means another process, or another program."""
        return self._of[pid & self._mask] & layout.GENERATION_MASK

    def set_verdict(self, pid: int, verdict: Verdict) -> None:
        """It spreads to the process's later children, and ends with the process."""
        at = pid & self._mask
        self._of[at] = (self._of[at] & ~layout.VERDICT_MASK) | verdict


class Memory:
    """`maps` are descriptors, which are needed only here."""

    def __init__(self, shape: Shape, maps: Mapping[str, int]) -> None:
        stride = layout.ring_stride(shape.shard_ring)
        shards = _mapped(maps["shard_rings"], stride * shape.shards)
        self.shard_rings = [
            Ring(shards[i * stride : (i + 1) * stride], shape.shard_ring)
            for i in range(shape.shards)
        ]
        spare = _mapped(maps["spare_rings"], layout.ring_stride(shape.spare_ring))
        self.spare_ring = Ring(spare, shape.spare_ring)
        self.shared = _mapped(maps["shared"], layout.SHARED_SIZE).cast("Q")
        self.marks = Marks(_mapped(maps["marks"], pids()))

    def ring(self, number: int) -> Ring:
        return self.spare_ring if number == SPARE else self.shard_rings[number]

    def fill(self) -> float:
        """The fullest ring's share that nobody was told of yet."""
        rings = (*self.shard_rings, self.spare_ring)
        return max(ring.fill() / ring.size for ring in rings)

    def totals(self, shard: int) -> ShardTotals:
        """Losses are read before what was seen, so that they never exceed it."""
        words = self.shard_rings[shard].words
        lost = words[layout.LOST : layout.LOST + len(KERNEL_LOSS_REASONS)].tolist()
        submitted = words[layout.SUBMITTED_BYTES]
        return ShardTotals(
            seen_bytes=words[layout.SEEN_BYTES],
            seen_records=words[layout.SEEN_RECORDS],
            submitted_bytes=submitted,
            lost=Losses(*lost),
            connections=words[layout.CONNECTIONS],
        )

    def counter(self, name: str) -> int:
        return int(self.shared[1 + layout.SHARED_COUNTERS.index(name)])


def pids() -> int:
    highest = int(Path("/proc/sys/kernel/pid_max").read_text())
    return max(mmap.PAGESIZE, 1 << (highest - 1).bit_length())


def _mapped(fd: int, size: int) -> memoryview:
    size = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
    try:
        return memoryview(mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))
    except OSError as error:
        raise MemoryRefused(f"can't map the rings: {error.strerror}; lower ring_mib") from None
