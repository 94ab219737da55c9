"""Hears from the kernel of TLS on the wire, looks whether it was a socket, and tells the parent.

The loop of it, in the child. A descriptor is looked at at once: its process may be short-lived.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable

from services import procfs
from services.capture.channel import Begin, Overheard
from services.capture.child.loaded import Kernel
from services.capture.child.wire import QUIET, Owner, Wire, heard
from services.capture.layout import Verdict

REST_SHARE = 30  # times what the last events have cost: at most some 3 % of a core
MOST_REST = 0.25  # seconds: what is to be named must be found soon
_NAME_OF_PROTOCOL = "system.sockprotoname"
_SOCKET = "socket:["  # a file's link begins with a slash
_NO_SOCKET = (errno.ENODATA, errno.EOPNOTSUPP, errno.EINVAL)


class Overhearing:
    def __init__(self, kernel: Kernel, begin: Begin, tell: Callable[[Overheard], None]) -> None:
        self._kernel, self._default, self._tell = kernel, begin.rings.default, tell
        self._own = frozenset((begin.parent, os.getpid()))
        self._wire = Wire()

    async def run(self) -> None:
        """For ever."""
        woken = asyncio.Event()
        loop, fd = asyncio.get_running_loop(), self._kernel.wire_fd
        while True:
            loop.add_reader(fd, woken.set)
            try:
                await woken.wait()
            finally:
                loop.remove_reader(fd)
            woken.clear()
            begun = time.thread_time()
            self._listen()
            rest = REST_SHARE * (time.thread_time() - begun)
            await asyncio.sleep(min(rest, MOST_REST))

    def _is_excluded(self, pid: int) -> bool:
        verdict = self._kernel.memory.marks.verdict(pid)
        return (verdict or self._default) is not Verdict.INCLUDE

    def _listen(self) -> None:
        found, unconfirmed = [], self._wire.unconfirmed
        for event in self._kernel.wire_ring.read():
            call = heard(event)
            if call.pid in self._own:
                self._kernel.quieten(call.pid, call.window + QUIET)
                continue
            protocol, owner = _protocol(call.pid, call.descriptor), _owner(call.pid)
            news = self._wire.receive(call, protocol, owner, time.monotonic())
            if news is not None:
                found.append(news)
            if self._wire.is_settled(call.pid, excluded=self._is_excluded(call.pid)):
                self._kernel.quieten(call.pid, call.window + QUIET)
        if found or unconfirmed != self._wire.unconfirmed:
            self._tell(Overheard(tuple(found), self._wire.evicted, self._wire.unconfirmed))


def _protocol(pid: int, descriptor: int) -> str:
    """`TCP`, `UDPv6` …; `-` where it is no socket, empty where it can't be told any more. What is
    none is not asked: a file's attributes are its file system's, which may never answer."""
    path = f"{procfs.PROC}/{pid}/fd/{descriptor}"
    try:
        if not os.readlink(path).startswith(_SOCKET):
            return "-"
        name = os.getxattr(path, _NAME_OF_PROTOCOL)
    except OSError as error:
        return "-" if error.errno in _NO_SOCKET else ""
    return name.rstrip(b"\0").decode(errors="replace")


def _owner(pid: int) -> Owner | None:
    found = procfs.stat(pid)
    if found is None:
        return None
    return Owner(found.start_boot_ns, found.process, procfs.shown(_executable(pid)))


def _executable(pid: int) -> str:
    """The path that opens here what the process runs; empty where there is none, as in a container:
    another file of that name would be taken for it. Of a process with another root no file is
    touched."""
    own = procfs.executable(pid)
    try:
        path = os.readlink(own)
        is_here = os.path.samefile(procfs.in_root(pid, "/"), "/") and os.path.samefile(own, path)
    except (OSError, ValueError):
        return ""
    return path if is_here else ""
