"""The process that becomes CMD: forked before anything of ours exists, it waits for a byte and
then execs CMD with the real file descriptors, the caller's mounts and the caller's signals.

Where Plainwire dies before the byte, it ends without having run anything.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.cli.errors import CANNOT_EXECUTE, NOT_FOUND, PLAINWIRE_FAILED

_GO = b"1"


@dataclass(frozen=True)
class Command:
    """`path` is what is executed, `argv` what it is told; `before` runs in the child, first."""

    path: str
    argv: Sequence[str]
    before: Callable[[], None] = lambda: None


class Launcher:
    """Forks at once. `pid` is CMD's from the beginning."""

    def __init__(self, command: Command) -> None:
        self._command, self._undecided = command, True
        gate, self._gate = os.pipe()
        self._failed, failed = os.pipe()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            os.close(self._failed)
            self._child(gate, failed, mask)
        os.close(gate)
        os.close(failed)

    def go(self) -> int:
        """CMD runs from here on. Returns 0, or the errno that its exec failed with."""
        self._undecided = False
        try:
            os.write(self._gate, _GO)
        except BrokenPipeError:  # a signal has ended it already
            return 0
        finally:
            os.close(self._gate)
        answer = os.read(self._failed, 4)  # ends when exec closes the other end
        os.close(self._failed)
        return int.from_bytes(answer, "little") if answer else 0

    def cancel(self) -> None:
        """Unless it went, it ends without running CMD."""
        if self._undecided:
            self._undecided = False
            os.close(self._gate)
            os.close(self._failed)

    def _child(self, gate: int, failed: int, mask: set[int | signal.Signals]) -> None:
        status = PLAINWIRE_FAILED
        try:
            restore_signals()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if os.read(gate, 1) == _GO:
                self._command.before()
                status = self._exec(failed)
        finally:
            os._exit(status)

    def _exec(self, failed: int) -> int:
        path, argv = self._command.path, list(self._command.argv)
        try:
            os.execv(path, argv)
        except OSError as error:
            problem = error
        if problem.errno == errno.ENOEXEC:  # a script without #!: what execvp(3) does
            os.execv("/bin/sh", ["sh", path, *argv[1:]])
        os.write(failed, (problem.errno or errno.EIO).to_bytes(4, "little"))
        return NOT_FOUND if problem.errno == errno.ENOENT else CANNOT_EXECUTE


def restore_signals() -> None:
    """Undo what the interpreter did at its start; what the caller ignored stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
