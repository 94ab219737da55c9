"""Where witnesses go: stdout, stderr or a file, a line at a time, each line whole."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass

from services.cli.errors import PLAINWIRE_FAILED, Failure


@dataclass
class Output:
    """A reader that goes away (`| head -1`) ends the lines, not the command."""

    descriptor: int
    closed: bool = False

    def line(self, text: bytes) -> None:
        if self.closed:
            return
        data = memoryview(text + b"\n")
        try:
            while data:
                data = data[self._write(data) :]
        except OSError:  # EPIPE, or a full disk: `closed` is said at the end
            self.closed = True

    def _write(self, data: memoryview) -> int:
        """CMD shares the descriptor, and may have made it non-blocking: full is not closed."""
        try:
            return os.write(self.descriptor, data)
        except BlockingIOError:
            select.select((), (self.descriptor,), ())
            return 0


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
    """A line of ours on stderr; it may name processes and files, which are named by anybody."""
    from services.cli.rendering import escape

    Output(2).line(f"plainwire: {escape(text)}".encode(errors="backslashreplace"))
