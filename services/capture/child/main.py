"""The process that probes and reads the rings: a child of capture, so that whatever the kernel, bcc
or a ring does to it, counters, spool and NATS live on.

    python -m services.capture.child.main HANDOVER TALK      descriptors of two sockets

It begins with what takes longest, and ends with its parent.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import msgspec

from services import linux
from services.capture import channel
from services.capture.channel import Begin, Loaded
from services.capture.child import btf, processes
from services.capture.child.btf import KernelLayout
from services.capture.child.kernel import Loading
from services.capture.child.loaded import Kernel
from services.capture.memory import MAPS

DETACH_WITHIN = 10  # seconds
TYPES = Path("/sys/kernel/btf/vmlinux")


def main(handover: socket.socket, talk: socket.socket) -> int:
    linux.die_with_parent()
    linux.harden()
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent says when
        signal.signal(number, signal.SIG_IGN)
    begin = _begin(talk)
    if begin is None or os.getppid() != begin.parent:
        return 0
    with handover:
        try:
            kernel = _load(begin)
        except OSError as error:
            loaded = Loaded(problem=error.strerror or str(error))
            socket.send_fds(handover, [msgspec.json.encode(loaded)], [])
            return 1
        maps = [kernel.maps[name] for name in MAPS]
        socket.send_fds(handover, [msgspec.json.encode(Loaded(maps=MAPS))], maps)
    _end_in_order(begin.parent)
    from services.capture.child.talking import run  # asyncio is imported while bcc compiles

    return run(begin, kernel, talk)


def _end_in_order(parent: int) -> None:
    """The child of a parent that was killed detaches by itself, as its channel ends; it has some
    seconds for that."""
    signal.signal(signal.SIGUSR1, lambda *_: signal.alarm(DETACH_WITHIN))
    linux.die_with_parent(signal.SIGUSR1)
    if os.getppid() != parent:
        signal.alarm(DETACH_WITHIN)


def _begin(talk: socket.socket) -> Begin | None:
    header = talk.recv(channel.LENGTH.size, socket.MSG_WAITALL)
    if len(header) < channel.LENGTH.size:
        return None
    (length,) = channel.LENGTH.unpack(header)
    message = channel.to_child(talk.recv(length, socket.MSG_WAITALL))
    return message if isinstance(message, Begin) else None


def _load(begin: Begin) -> Kernel:
    loading = Loading(begin.rings)
    # Both are slow: bcc compiles meanwhile.
    from services.capture.child import talking  # noqa: F401

    places = _places()
    kernel = Kernel(begin.rings, loading.wait())
    if places is not None:
        kernel.know(places)
    processes.enter(kernel, begin)
    return kernel


def _places() -> KernelLayout | None:
    """None where this kernel says nothing of itself: no address can be proven then."""
    try:
        return btf.offsets(TYPES.read_bytes())
    except (OSError, btf.Unreadable):
        return None


if __name__ == "__main__":
    sockets = [socket.socket(fileno=int(number)) for number in sys.argv[1:3]]
    sys.exit(main(*sockets))
