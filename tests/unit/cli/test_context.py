"""The file by which other terminals find a running `plainwire up`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.cli import context
from services.cli.embedded import Server
from services.cli.errors import Failure

SERVER = Server(1, "nats://127.0.0.1:1234", "secret", Path("/t"), Path("/l"))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PLAINWIRE_CONTEXT": str(tmp_path / "plainwire" / "context.json")}


def test_it_is_read_as_it_was_written_and_by_nobody_else(environ: dict[str, str]) -> None:
    file = context.write(SERVER, environ)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert context.read(environ) == context.Context(SERVER.url, "secret", os.getpid())


def test_its_writer_clears_it_and_others_do_not(environ: dict[str, str]) -> None:
    file = context.write(SERVER, environ)
    context.clear(environ, of=1)
    assert file.exists()
    context.clear(environ, of=os.getpid())
    assert not file.parent.exists()


def test_what_a_dead_one_left_is_not_read_and_is_cleared(environ: dict[str, str]) -> None:
    file = context.write(SERVER, environ)
    file.write_text(file.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194305'))
    assert context.read(environ) is None
    context.clear(environ)
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1, "token": 2, "pid": "x"}', "\x00"])
def test_nonsense_is_no_context(environ: dict[str, str], text: str) -> None:
    context.write(SERVER, environ).write_text(text)
    assert context.read(environ) is None


def test_without_the_variable_it_lies_below_run(tmp_path: Path) -> None:
    file = context.path({"XDG_RUNTIME_DIR": str(tmp_path)})
    below = Path("/run") if os.geteuid() == 0 else tmp_path
    assert file == below / "plainwire" / "context.json"


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="set PLAINWIRE_CONTEXT"):
        context.write(SERVER, {"PLAINWIRE_CONTEXT": str(tmp_path / "file" / "context.json")})
