"""What a reader says where no bus answers."""

from __future__ import annotations

import os

import pytest

from services.cli import reading


@pytest.mark.parametrize(("user", "said"), [(0, False), (1000, True)])
def test_who_is_not_root_is_told_of_root_s_up(
    user: int, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    line = reading._unanswered("nats://127.0.0.1:4222")
    assert line.startswith("no NATS server answers at 127.0.0.1:4222; start `plainwire up`")
    assert ("use sudo" in line) == said
