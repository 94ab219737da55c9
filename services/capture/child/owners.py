"""Which container a process is in, asked the moment its connection is heard of.

Its cgroup's number, which the kernel told with the connection, leads to the path for as long as
the cgroup is there, whatever the process has become; what a number means never changes. What /proc
says is of now, and of whoever has that pid now: it is asked where the number leads nowhere, and
never learnt.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from services import cgroups, procfs
from services.capture import syscalls
from services.messages import Container

MOST = 4096
MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")


class Owners:
    def __init__(self) -> None:
        self.known: Mapping[str, Container] = {}
        self._by_cgroup: dict[int, str] = {}
        own = procfs.cgroup(os.getpid())
        self._is_alone = own is not None and not cgroups.older(own)  # there is no version 1

    def of(self, tgid: int, cgroup: int) -> Container:
        identity = self._by_cgroup.get(cgroup)
        if identity is None:
            identity = self._ask(tgid, cgroup)
        return self.known.get(identity) or Container(id=identity)

    def _ask(self, tgid: int, cgroup: int) -> str:
        path = path_of(cgroup)
        found = cgroups.of_path(path)
        if path and (found or self._is_alone):
            self._learn(cgroup, found)
            return found
        text = procfs.cgroup(tgid) or ""
        return cgroups.container(cgroups.older(text) if path else text)

    def _learn(self, cgroup: int, identity: str) -> None:
        while len(self._by_cgroup) >= MOST:
            self._by_cgroup.pop(next(iter(self._by_cgroup)))
        self._by_cgroup[cgroup] = identity


def path_of(cgroup: int) -> str:
    """Of a cgroup of version 2 by its number; empty where it is gone or nobody may ask."""
    for mount in MOUNTS:
        try:
            descriptor = syscalls.open_cgroup(mount, cgroup)
        except OSError:
            continue
        try:
            return procfs.shown(os.readlink(f"{procfs.PROC}/self/fd/{descriptor}"))
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return ""
