"""The few Linux calls that Python 3.11 has no name for. Numbers are the kernel's own."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Iterable
from typing import NamedTuple

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_REC, MS_SLAVE = 0x4000, 1 << 19
SFD_NONBLOCK, SFD_CLOEXEC = 0x800, 0x80000
SI_USER = 0  # si_code: sent by kill(2); what the terminal sends comes from the kernel, above 0

_SIGNALFD_INFO = struct.Struct("<Iii I")  # signo, errno, code, pid; the rest is not read here
_SIGNALFD_INFO_SIZE = 128
_libc = ctypes.CDLL(None, use_errno=True)


class Received(NamedTuple):
    """A signal: `by_user` where somebody sent it, else the kernel (a terminal's Ctrl-C)."""

    number: int
    by_user: bool
    pid: int


def become_subreaper() -> None:
    """Orphaned descendants become our children, so that none is lost sight of."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def die_with_parent(by: signal.Signals = signal.SIGKILL) -> None:
    """This process gets that signal when the thread that forked it ends. Whose parent had ended
    before gets none: whoever calls it looks at its parent's pid afterwards."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, int(by), 0, 0, 0), "prctl")


def harden() -> None:
    """Plaintext lives in this process: no core file, no dump by others of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _check(_libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


def private_mounts() -> None:
    """A mount namespace of our own, into which others' mounts still flow."""
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", "", MS_REC | MS_SLAVE, "")


def mount_privately(kind: str, where: str) -> None:
    """For the calling thread alone: it gets a mount namespace of its own, which ends with it."""
    private_mounts()
    mount(kind, where, kind, 0, "")


def mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    result = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _check(result, f"mount {target}")


def signal_fd(signals: Iterable[signal.Signals]) -> int:
    """A descriptor that reads blocked signals; `signals` are blocked by the caller."""
    words = (ctypes.c_ulong * (1024 // (8 * ctypes.sizeof(ctypes.c_ulong))))()
    for number in signals:
        words[(number - 1) // 64] |= 1 << ((number - 1) % 64)
    descriptor: int = _libc.signalfd(-1, words, SFD_NONBLOCK | SFD_CLOEXEC)
    return _check(descriptor, "signalfd")


def read_signals(descriptor: int) -> list[Received]:
    """What has arrived; empty where nothing has."""
    try:
        data = os.read(descriptor, 64 * _SIGNALFD_INFO_SIZE)
    except BlockingIOError:
        return []
    received = []
    for start in range(0, len(data), _SIGNALFD_INFO_SIZE):
        number, _, code, pid = _SIGNALFD_INFO.unpack_from(data, start)
        received.append(Received(number, code <= SI_USER, pid))
    return received


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
