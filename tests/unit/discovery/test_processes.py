"""Which processes are Plainwire's own. The scan itself: integration."""

from __future__ import annotations

import pytest

from services.procfs import is_own


@pytest.mark.parametrize(
    "arguments",
    [
        ("/venv/bin/python", "-m", "services.cli.main", "capture"),
        ("/venv/bin/python3", "/venv/bin/plainwire", "run", "--", "curl"),
        ("plainwire", "tap"),
    ],
)
def test_these_are_ours(arguments: tuple[str, ...]) -> None:
    assert is_own(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("curl", "https://plainwire.example/"),
        ("python3", "-m", "http.server"),
        ("python3", "app.py", "plainwire"),
        ("python3", "-m"),
        ("grep", "-r", "services.cli"),
    ],
)
def test_these_are_not(arguments: tuple[str, ...]) -> None:
    assert not is_own(arguments)
