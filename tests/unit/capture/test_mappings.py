"""What perf's ring holds. Not: perf itself, which e2e has."""

from __future__ import annotations

import struct

import pytest

from services.capture.child import mappings


def record(kind: int, body: bytes) -> bytes:
    return struct.pack("<IHH", kind, 0, 8 + len(body)) + body


def test_records_are_cut_by_their_own_sizes() -> None:
    data = record(10, bytes(72)) + record(2, bytes(16)) + record(7, b"")
    assert list(mappings.records(data)) == [(10, bytes(72)), (2, bytes(16)), (7, b"")]


def test_a_size_that_cannot_be_ends_the_reading() -> None:
    assert list(mappings.records(record(7, b"x" * 8) + bytes(64))) == [(7, b"x" * 8)]


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0\n", [0]), ("0-3\n", [0, 1, 2, 3]), ("0-1,4,6-7\n", [0, 1, 4, 6, 7])],
)
def test_cpus_that_are_online(text: str, cpus: list[int]) -> None:
    assert mappings.online(text) == cpus
