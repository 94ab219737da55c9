"""Attaching a target's sites, all or nothing. The kernel removes them when this process ends.

Where the kernel has uprobe_multi one link serves all sites of one program; else each site is a
perf event. Both bind to the inode: every process that maps the file, now or later.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from services.capture import syscalls
from services.capture.channel import KernelError
from services.capture.child import hands
from services.capture.child.kernel import COOKIE_SINCE, MULTI_SINCE, version
from services.capture.child.loaded import Kernel
from services.messages import Site, Target

_PMU = Path("/sys/bus/event_source/devices/uprobe")


class _Places(NamedTuple):
    sites: tuple[Site, ...]
    path: bytes
    number: int  # the target's


class Probes:
    """By the key of the file's identity, the descriptors that keep its probes there."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._attached: dict[str, list[int]] = {}
        self._closing = threading.Event()
        self._times = 0

    def attach(self, target: Target, number: int) -> None:
        """Raises KernelError; then nothing of the target is attached."""
        self._times += 1
        sites = tuple(_dated(site, self._times) for site in target.sites)
        try:
            with the_same_file(target) as path:
                places = _Places(sites, path, number)
                found = hands.attached(lambda made: self._attach_multi(places, made))
        except OSError as error:
            raise KernelError(f"{target.name}: {error.strerror or error}") from None
        self._attached[target.identity.key()] = found

    def detach(self, key: str) -> None:
        """Births first, exits last, the other way round; all at once where all of it ends."""
        left = self._attached.pop(key, [])
        while left:
            taken = left[:] if self._closing.is_set() else left[-1:]
            del left[-len(taken) :]
            hands.released(taken)

    def close(self) -> None:
        self._closing.set()
        all_of_them = [one for found in self._attached.values() for one in found]
        self._attached.clear()
        hands.released(all_of_them)

    def _attach_multi(self, wanted: _Places, descriptors: list[int]) -> None:
        for (program, flags), group in _by_program(wanted.sites).items():
            number = self._kernel.programs.get(program)
            if number is None:
                raise KernelError(f"no program for {program.removeprefix('on_')}")
            places = [(site.offset, cookie_of(site, wanted.number)) for site in group]
            if version() >= MULTI_SINCE:
                descriptors.append(syscalls.link_uprobes(number, wanted.path, places, flags))
            else:
                for offset, cookie in places:
                    descriptors += _attach_event(number, wanted.path, offset, cookie, flags)


@contextmanager
def the_same_file(target: Target) -> Iterator[bytes]:
    """A path to the very file whose code was read: sites of one build, put into another, land in
    the middle of its instructions and break every process that runs them. A target may be old (the
    bus keeps it for a day), a library may have been replaced, a pid in its path used again."""
    descriptor = os.open(target.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status, wanted = os.fstat(descriptor), target.identity
        found = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if found != (wanted.device, wanted.inode, wanted.size, wanted.mtime_ns):
            raise KernelError(f"{target.name}: not the file any more that discovery read")
        yield b"/proc/self/fd/%d" % descriptor
    finally:
        os.close(descriptor)


def program_of(site: Site) -> str:
    """The program's name in bpf/. At an exit the call itself knows where its length is."""
    if site.abi == "go":
        return f"on_go_{site.operation}_{site.event}"
    own = f"on_{site.operation}_{site.event}"
    transfer = site.event == "enter" and site.operation in ("read", "write")
    return f"{own}_{site.abi}" if transfer or site.abi == "object_pointer" else own


def cookie_of(site: Site, number: int) -> int:
    """What the programs are told about a probe: the target's number, and the frame above it."""
    return (site.frame & 0xFFFFFFFF) << 32 | number


def _dated(site: Site, times: int) -> Site:
    """A goroutine's call may outlast its probes: by their number those of another time know that
    what the entry kept is old. Frames mean nothing there; the lowest bit says what is proven."""
    if site.abi != "go":
        return site
    return msgspec.structs.replace(site, frame=times << 1 | site.keeps_arguments)


def _turn(site: Site) -> tuple[int, bool]:
    """Exits first: a call that is caught at its entry then always has its exit. Births last: a
    connection that is known from its first byte has no call that nobody saw."""
    order = {"read": 0, "write": 0, "free": 1, "share": 1, "duplicate": 1}
    return order.get(site.operation, 2), site.event != "exit"


def _by_program(sites: tuple[Site, ...]) -> dict[tuple[str, int], list[Site]]:
    grouped: dict[tuple[str, int], list[Site]] = defaultdict(list)
    for site in sorted(sites, key=_turn):
        flags = syscalls.UPROBE_MULTI_RETURN if site.kind == "uretprobe" else 0
        grouped[program_of(site), flags].append(site)
    return grouped


def _attach_event(program: int, path: bytes, offset: int, cookie: int, flags: int) -> list[int]:
    kind = int((_PMU / "type").read_text())
    bit = int((_PMU / "format" / "retprobe").read_text().rpartition(":")[2])
    event = syscalls.open_uprobe(kind, path, offset, 1 << bit if flags else 0)
    try:
        if version() >= COOKIE_SINCE:
            return [event, syscalls.link_perf_event(program, event, cookie)]
        syscalls.start_event(event, program)
    except OSError:
        os.close(event)
        raise
    return [event]
