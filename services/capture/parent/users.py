"""Processes whose connections are captured, and by which libraries, for a while after the last was
heard of: who asks what became of a process may come when it is over. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.messages import Opened

MAX_USERS = 4096
KEPT_NS = 60_000_000_000  # a connection that lives is named more often


@dataclass(slots=True)
class User:
    process: str
    heard_ns: int = 0
    first_boot_ns: int = 0  # of its latest connection
    libraries: dict[str, None] = field(default_factory=dict)

    def library(self) -> str:
        return ", ".join(self.libraries)


class Users:
    def __init__(self) -> None:
        self._by_pid: dict[int, User] = {}
        self.evicted = 0

    def hear(self, opened: Iterable[Opened], now_ns: int) -> bool:
        """Whether anything of it is new."""
        news = False
        for each in opened:
            news |= self._note(each, now_ns)
        while len(self._by_pid) > MAX_USERS:
            del self._by_pid[next(iter(self._by_pid))]
            self.evicted += 1
        return news

    def _note(self, opened: Opened, now_ns: int) -> bool:
        source = opened.source
        user = self._by_pid.pop(source.pid, None)
        if user is None or user.process != source.process:
            user = User(source.process)
        self._by_pid[source.pid] = user
        user.heard_ns = now_ns
        user.first_boot_ns = max(user.first_boot_ns, opened.first_boot_ns)
        if not source.tls or source.tls in user.libraries:
            return False
        user.libraries[source.tls] = None
        return True

    def known(self, now_ns: int) -> Mapping[int, User]:
        """By process; those that were not heard of for long are forgotten."""
        for pid, user in list(self._by_pid.items()):
            if now_ns - user.heard_ns > KEPT_NS:
                del self._by_pid[pid]
        return self._by_pid
