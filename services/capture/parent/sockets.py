"""The parent's part of what the wire tells: whose it is, what is kept of it, who hears of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from services import ourselves, procfs
from services.capture.channel import Overheard
from services.capture.parent.onwire import Fact, Facts, sighting
from services.capture.parent.sights import Sights
from services.capture.parent.users import User, Users
from services.messages import Coverage, Opened, TlsProcess

SIGHTED_EVERY = 1.0  # second: as often it is asked who has to be sighted again


class Sockets:
    """`users` are processes with captured connections, by their name and library."""

    def __init__(self, sights: Sights, changed: Callable[[], None]) -> None:
        self._sights, self._facts, self._last = sights, Facts(), Overheard(())
        self._changed = changed
        self._named: tuple[TlsProcess, ...] = ()
        self._used = Users()
        self.users: Mapping[int, tuple[str, str]] = {}

    def hear(self, message: Overheard, rule: Callable[[int], str]) -> None:
        """Of Plainwire's own processes nothing is told."""
        self._last = message
        found = [told for told in message.found if not _is_own(told.pid)]
        self._facts.hear(found, rule, time.time_ns())
        self._sights.tell(tuple(map(sighting, found)))
        if found:
            self._changed()

    def hear_of(self, opened: Iterable[Opened]) -> None:
        """Connections that are captured."""
        if self._used.hear(opened, time.time_ns()):
            self._changed()

    def used(self) -> Mapping[int, User]:
        return self._used.known(time.time_ns())

    async def run(self) -> None:
        """For ever: whoever discovery hasn't named is sighted again, ever more seldom; it may not
        have been there, or has begun anew."""
        while True:
            await asyncio.sleep(SIGHTED_EVERY)
            self._sights.tell(self._facts.unnamed(self._named, time.time_ns()))

    def facts(self, named: tuple[TlsProcess, ...]) -> Mapping[int, Fact]:
        """By process; discovery has named these."""
        self._named = named
        self._facts.check(procfs.is_alive, time.time_ns())
        return self._facts.by_pid

    def remember(self, coverage: Coverage) -> Coverage:
        """What was told of who lives is still said when it has ended."""
        self._facts.remember(coverage.processes)
        return coverage

    def not_own(self) -> dict[int, tuple[str, str]]:
        return {pid: user for pid, user in self.users.items() if not _is_own(pid)}

    def counters(self) -> dict[str, int]:
        return {
            "wire_processes": len(self._facts.by_pid),
            "wire_evicted": self._last.evicted + self._facts.evicted,
            "users_evicted": self._used.evicted,
            "wire_unconfirmed": self._last.unconfirmed,
        }


def _is_own(pid: int) -> bool:
    return ourselves.is_own(procfs.arguments(pid))
