"""Lines are written whole or the output is closed; what we say steers no terminal."""

from __future__ import annotations

import os
import threading

import pytest

from services.cli.output import Output, say

PIPE = 1 << 16


def test_a_reader_that_went_away_ends_the_lines() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    output = Output(writer)
    output.line(b"x")
    output.line(b"y")
    assert output.closed
    os.close(writer)


def test_a_full_disk_ends_the_lines() -> None:
    output = Output(os.open("/dev/full", os.O_WRONLY))
    output.line(b"x")
    assert output.closed
    os.close(output.descriptor)


def test_a_full_pipe_that_somebody_made_non_blocking_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    output = Output(writer)
    lines = [bytes([letter]) * PIPE for letter in b"abc"]
    writing = threading.Thread(target=lambda: [output.line(line) for line in lines])
    writing.start()
    with os.fdopen(reader, "rb") as reading:
        assert [reading.readline() for _ in lines] == [line + b"\n" for line in lines]
    writing.join()
    assert not output.closed
    os.close(writer)


def test_what_we_say_steers_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    say("left: \x1b[2J\r\n\u202ename\udcff")
    assert capfd.readouterr().err == "plainwire: left: \\x1b[2J\\x0d\\x0a\\u202ename\\udcff\n"
