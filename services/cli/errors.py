"""What ends a command early: one line that says what is wrong and what to do, and a status."""

from __future__ import annotations

PLAINWIRE_FAILED = 125  # before CMD could run; the statuses of timeout(1), env(1) and nohup(1)
CANNOT_EXECUTE = 126
NOT_FOUND = 127


class Failure(Exception):
    """Reaches the user as `plainwire: <text>`; the command ends with `status`."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


class Interrupted(Failure):
    """By a signal, before there was anything to end in order."""

    def __init__(self, number: int) -> None:
        super().__init__("interrupted before it began", 128 + number)


def status_of(wait_status: int) -> int:
    """A waited-for child's status as a shell says it: 128+n where signal n ended it."""
    if wait_status & 0x7F:
        return 128 + (wait_status & 0x7F)
    return (wait_status >> 8) & 0xFF
