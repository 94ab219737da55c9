"""What can be set about capturing."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.settings import SharedSettings


class Settings(SharedSettings, frozen=True, kw_only=True):
    pids: tuple[int, ...] = ()
    """Capture these processes and their descendants; empty: every process."""
    exclude_pids: tuple[int, ...] = ()
    """Never these processes and their descendants."""
    ring_mib: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Memory for records between the kernel and the reader; half of it is the spare ring."""
    spool_mib: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Memory for batches that NATS has not taken yet; beyond it the oldest are given up."""
    connections: Annotated[int, Meta(ge=64, le=1 << 20)] = 65536
    """How many connections are followed at once."""
    coverage_seconds: Annotated[float, Meta(gt=0)] = 30.0
    """How often coverage is said again when nothing has changed."""
    shard_ring_kib: Annotated[int, Meta(ge=0)] = 0
    """One shard's ring; 0: its share of half of `ring_mib`. For tests of overload."""
    spare_ring_kib: Annotated[int, Meta(ge=0)] = 0
    """The spare ring; 0: half of `ring_mib`. For tests of overload."""
    silence_seconds: Annotated[float, Meta(gt=0)] = 5.0
    """How long the process that holds the probes may say nothing, or not see its own canary."""
    restarts: Annotated[int, Meta(ge=1)] = 5
    """After so many failures of it in a row the node is marked degraded."""
    breaker_seconds: Annotated[float, Meta(gt=0)] = 300.0
    """How often it is then started all the same."""
    shed: bool = True
    """Capture fewer connections where all of them would cost more than the budget."""
    cpu_percent: Annotated[float, Meta(gt=0)] = 50.0
    """The budget: of one core, on average over 10 s."""
    budget_mib: Annotated[int, Meta(ge=0)] = 96
    """The budget: MiB a second that are captured at most; 0: any."""
    workloads: tuple[str, ...] = ()
    """Who is shed first, and whose rate is bounded: NAME=low, normal or high, or
    NAME=PRIORITY:KIB a second. NAME is a process's."""
