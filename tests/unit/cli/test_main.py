"""The command line: help with an example for each, one line for each mistake, lazy imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from services.cli import main as cli
from services.cli import run


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == 0
        assert "example:\n  " in (shown := capsys.readouterr().out)
        assert f"plainwire {name}" in shown


def test_the_release_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    name, _, release = capsys.readouterr().out.strip().partition(" ")
    assert (name, bool(release)) == ("plainwire", True)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 2),
        (["bogus"], 2),
        (["up", "--pid", "x"], 2),
        (["tap", "everything"], 2),
        (["tap", "raw", "-n", "0"], 2),
        (["tap", "raw", "-n", "-1"], 2),
        (["run"], 125),
        (["run", "--"], 125),
        (["run", "--bogus", "--", "true"], 125),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("plainwire: ")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        (["--json", "--", "curl", "-k", "--", "x"], ["curl", "-k", "--", "x"]),
        (["curl", "--json", "-q"], ["curl", "--json", "-q"]),
        (["-q", "sh", "-c", "a b"], ["sh", "-c", "a b"]),
    ],
)
def test_what_follows_is_the_command_untouched(
    typed: list[str], command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[run.Options] = []
    monkeypatch.setattr(run, "run", lambda options: seen.append(options) or 0)
    assert cli.main(["run", *typed]) == 0
    assert seen[0].command == command


def test_a_bug_is_one_line_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> int:
        raise ValueError("captured SECRET")

    monkeypatch.setattr(run, "run", broken)
    monkeypatch.delenv("PLAINWIRE_DEBUG", raising=False)
    assert cli.main(["run", "true"]) == 125
    shown = capsys.readouterr().err
    assert "ValueError" in shown
    assert "SECRET" not in shown
    monkeypatch.setenv("PLAINWIRE_DEBUG", "1")
    with pytest.raises(ValueError, match="SECRET"):
        cli.main(["run", "true"])


def test_the_command_line_imports_nothing_slow() -> None:
    text = (
        "import sys; import services.cli.main; "
        "print([m for m in ('asyncio', 'nats', 'msgspec', 'bcc', 'ctypes') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_a_mistake_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--", "no such\x1b[2J\u202ecommand"]) == 127
    shown = capsys.readouterr().err
    assert shown.startswith("plainwire: no such\\x1b[2J\\u202ecommand: command not found")
