"""On which kernels a uretprobe may be the end of the program that it is in."""

from __future__ import annotations

import pytest

from services.discovery.code import kernels


@pytest.mark.parametrize("release", ["6.11.0", "6.12.3-amd64", "6.13.9", "nonsense"])
def test_a_strict_filter_kills_at_a_uretprobe(release: str) -> None:
    assert not kernels.uretprobes_are_safe(release)


@pytest.mark.parametrize("release", ["5.15.0-91-generic", "6.1.0-56-amd64", "6.10.11", "6.14.0"])
def test_elsewhere_uretprobes_are_safe(release: str) -> None:
    assert kernels.uretprobes_are_safe(release)
