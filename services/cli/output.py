"""Where witnesses go: stdout, stderr or a file, a line at a time, each line whole."""

from __future__ import annotations

import os
from dataclasses import dataclass

from services.cli.errors import PLAINWIRE_FAILED, Failure


@dataclass
class Output:
    """A reader that goes away (`| head -1`) ends the lines, not the command."""

    descriptor: int
    closed: bool = False
    lines: int = 0

    def line(self, text: bytes) -> None:
        if self.closed:
            return
        data = memoryview(text + b"\n")
        try:
            while data:
                data = data[os.write(self.descriptor, data) :]
        except OSError:  # EPIPE, or a full disk: `closed` is said at the end
            self.closed = True
            return
        self.lines += 1


def open_output(path: str | None, standard: int) -> Output:
    """`path`, made for its owner only because it holds plaintext, or a standard stream."""
    if path is None:
        return Output(standard)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return Output(os.open(path, flags, 0o600))
    except OSError as error:
        raise Failure(f"--output {path}: {error.strerror}", PLAINWIRE_FAILED) from None


def say(text: str) -> None:
    """A line of ours on stderr."""
    Output(2).line(f"plainwire: {text}".encode(errors="backslashreplace"))
