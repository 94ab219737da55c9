"""Probes are put on and taken off by processes of their own, which live for that alone.

One that SIGKILL hits in the middle of either leaves a breakpoint in its targets: the kernel can't
touch their pages for a task with a fatal signal pending ("failed to unregister, leaking uprobe").
A task that ends has none, even if it is killed as it ends: what its end closes is gone for good.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable

_AT_ONCE = 200  # the kernel passes at most 253 descriptors in a message
_LONGEST = 4096

# The ends by which hands are spoken to. A hand that is made meanwhile must not keep one open: who
# waits for its end would wait for that hand, too, and two such would wait for each other for ever.
_making = threading.Lock()
_ends: set[int] = set()


def _fork(ours: int, theirs: int) -> int:
    """As os.fork; the hand has of all ends only `theirs`. To be called with `_making` held."""
    _ends.update((ours, theirs))
    try:
        hand = os.fork()
    except OSError:
        _close(ours)
        _close(theirs)
        raise
    if hand == 0:
        for end in _ends - {theirs}:
            os.close(end)
    else:
        _close(theirs)
    return hand


def _close(end: int) -> None:
    """Forgotten before its number can be another's."""
    _ends.discard(end)
    os.close(end)


def attached(attach: Callable[[list[int]], None]) -> list[int]:
    """The descriptors that `attach` appends to its list. Raises OSError with the words of its own;
    then it has attached nothing."""
    with _making:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        hand = _fork(ours.fileno(), theirs.fileno())
        if hand == 0:
            ours.detach()
            _attach(attach, theirs)
        theirs.detach()
    try:
        found, said = _received(ours)
    finally:
        with _making:
            _close(ours.detach())
        os.waitpid(hand, 0)
    if said != str(len(found)):
        for descriptor in found:
            os.close(descriptor)
        lacking = "too many open files, or the process that attaches was ended"
        raise OSError(0, said if said and not said.isdecimal() else lacking)
    return found


def _attach(attach: Callable[[list[int]], None], channel: socket.socket) -> None:
    """Never returns; what it opened stays where it has arrived."""
    made: list[int] = []
    try:
        said = ""
        try:
            attach(made)
        except OSError as error:
            made, said = [], error.strerror or str(error)
        for start in range(0, len(made), _AT_ONCE):
            socket.send_fds(channel, [b"+"], made[start : start + _AT_ONCE])
        channel.send((said or str(len(made))).encode()[:_LONGEST])
    finally:
        os._exit(0)


def _received(channel: socket.socket) -> tuple[list[int], str]:
    found: list[int] = []
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, _LONGEST, _AT_ONCE)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        found += descriptors
        if data != b"+":
            return found, data.decode()


def released(descriptors: Iterable[int]) -> None:
    """Closed, last of all by a process that ends; when this returns they are gone."""
    with _making:
        waiting, done = os.pipe()
        hand = _fork(done, waiting)
        if hand == 0:
            try:
                os.read(waiting, 1)
            finally:
                os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    with _making:
        _close(done)
    os.waitpid(hand, 0)
