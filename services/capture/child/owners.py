"""Which container a process is in, asked the moment its connection is heard of.

A process may have ended by then: its cgroup's number, which the kernel told with the connection,
leads to the path for as long as the cgroup is there. What a number means never changes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from services import cgroups, procfs
from services.capture import syscalls
from services.messages import Container

MOST = 4096
MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_ROOT = 1  # the number of the root cgroup: where everybody is who is in none


class Owners:
    def __init__(self) -> None:
        self.known: Mapping[str, Container] = {}
        self._by_cgroup: dict[int, str] = {}

    def of(self, tgid: int, cgroup: int) -> Container:
        identity = self._by_cgroup.get(cgroup)
        if identity is None:
            identity = self._ask(tgid, cgroup)
        return self.known.get(identity) or Container(id=identity)

    def _ask(self, tgid: int, cgroup: int) -> str:
        text = procfs.cgroup(tgid)
        found = cgroups.container(text) if text else cgroups.of_path(path_of(cgroup))
        if found.everywhere and cgroup > _ROOT:
            while len(self._by_cgroup) >= MOST:
                self._by_cgroup.pop(next(iter(self._by_cgroup)))
            self._by_cgroup[cgroup] = found.container
        return found.container


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
