"""Which servers are safe as a cluster."""

from __future__ import annotations

import pytest

from services.clusters import unsafe


@pytest.mark.parametrize(
    ("version", "replicas", "words"),
    [
        ((2, 9, 10), 3, "2.9.10"),
        ((2, 11, 17), 3, "2.11.17"),
        ((2, 9, 10), 1, ""),
        ((2, 12, 0), 3, ""),
        ((3, 0, 0), 3, ""),
    ],
)
def test_old_servers_are_no_cluster(version: tuple[int, ...], replicas: int, words: str) -> None:
    warning = unsafe(version, replicas)
    assert words in warning
    assert bool(warning) == bool(words)
