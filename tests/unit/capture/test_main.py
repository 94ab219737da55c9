"""Sizes of the rings from the settings."""

from __future__ import annotations

from services.capture import main
from services.capture.layout import Verdict
from services.capture.settings import Settings


def test_rings_share_the_memory_as_powers_of_two() -> None:
    shape = main.shape(Settings(node="n", shards=16, ring_mib=32))
    assert (shape.shard_ring, shape.spare_ring) == (1 << 20, 16 << 20)
    shape = main.shape(Settings(node="n", shards=10, ring_mib=30))
    assert (shape.shard_ring, shape.spare_ring) == (1 << 20, 8 << 20)


def test_named_processes_exclude_the_others_by_default() -> None:
    assert main.shape(Settings(node="n")).default is Verdict.INCLUDE
    assert main.shape(Settings(node="n", pids=(1,))).default is Verdict.EXCLUDE
