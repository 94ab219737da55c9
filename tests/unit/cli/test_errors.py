"""Exit statuses as shells say them."""

from __future__ import annotations

import pytest

from services.cli.errors import Interrupted, status_of


@pytest.mark.parametrize(
    ("wait_status", "status"),
    [(0, 0), (3 << 8, 3), (255 << 8, 255), (9, 137), (2, 130), (11 | 0x80, 139)],
    ids=["success", "three", "255", "killed", "interrupted", "dumped core"],
)
def test_a_wait_status_becomes_what_a_shell_reports(wait_status: int, status: int) -> None:
    assert status_of(wait_status) == status


def test_an_interruption_ends_as_the_signal_would() -> None:
    assert Interrupted(2).status == 130
