"""Which processes are Plainwire's own, by what they were started with."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

from services import ourselves
from services.ourselves import is_own

HOMES = frozenset({"/app/.venv/bin"})
PYTHON = "/app/.venv/bin/python3"


@pytest.mark.parametrize(
    "words",
    [
        (PYTHON, "-m", "services.cli.main", "capture"),
        ("/usr/bin/python3.11", "-m", "services.cli.main", "collect"),
        (PYTHON, "-m", "services.capture.child.main", "4", "6"),
        (PYTHON, "/app/.venv/bin/plainwire", "run", "--", "curl"),
        (PYTHON, ".venv/bin/plainwire", "tap"),
        (PYTHON, "/usr/local/bin/plainwire", "up"),
    ],
)
def test_these_are_ours(words: tuple[str, ...]) -> None:
    assert is_own(words, HOMES, is_alone=True)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("plainwire",),
        ("plainwire", "tap"),
        ("curl", "https://h/plainwire"),
        ("curl", "https://plainwire.example/"),
        ("sudo", "/app/.venv/bin/plainwire", "run"),
        ("vim", "/app/.venv/bin/plainwire"),
        ("python", "-m", "services.api"),
        ("python", "-m", "services.cli.main.other"),
        ("python", "-m", "services.capture.mainly"),
        ("python3", "-m", "http.server"),
        ("python3", "-m"),
        ("grep", "-m", "services.cli.main"),
        ("grep", "-r", "services.cli"),
        ("/usr/bin/python3", "plainwire"),
        ("/usr/bin/python3", "/srv/plainwire"),
        (PYTHON, "app.py", "plainwire"),
        (PYTHON, "app.py", "/app/.venv/bin/plainwire"),
        (PYTHON, "/srv/app", "-m", "services.cli.main"),
        (PYTHON, "-c", "import services.cli.main"),
        (PYTHON, "-c", "plainwire"),
        (PYTHON, "-m", "pytest", "services.cli.main"),
        ("/app/.venv/bin/pythonic", "/app/.venv/bin/plainwire"),
    ],
)
def test_these_are_not(words: tuple[str, ...]) -> None:
    assert not is_own(words, HOMES, is_alone=True)


def test_an_interpreter_that_all_programs_share_tells_nothing() -> None:
    homes = frozenset({"/usr/bin"})
    assert is_own(("/usr/bin/python3", "/usr/bin/plainwire"), homes, is_alone=False)
    assert not is_own(("/usr/bin/python3", "/srv/plainwire"), homes, is_alone=False)
    assert not is_own(("/usr/bin/python3", "./plainwire"), homes, is_alone=False)


def test_the_script_beside_the_interpreter_that_runs_us_is_ours() -> None:
    beside = os.path.join(os.path.dirname(sys.executable), "plainwire")
    assert is_own((sys.executable, beside, "run"))


@pytest.mark.parametrize("module", ourselves.MODULES)
def test_the_modules_are_there(module: str) -> None:
    assert importlib.util.find_spec(module) is not None
