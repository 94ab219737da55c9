"""The loaded object as the child uses it: tracepoints followed, names written, entries taken.

Knows descriptors, not bcc. What is mapped of it is memory's.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from services.capture import layout, syscalls
from services.capture.channel import KernelError, Shape
from services.capture.child import kernel
from services.capture.child.births import Births
from services.capture.child.btf import KernelLayout
from services.capture.child.kernel import Descriptors
from services.capture.layout import Counts
from services.capture.memory import Memory
from services.capture.rings import ControlRing
from services.capture.syscalls import Map


@dataclass(frozen=True)
class Entry:
    """A connection's entry, taken out of the kernel."""

    connection: int
    counts: Counts


class Kernel:
    """What it mapped and attached ends with `close`, or with the process. Raises KernelError."""

    def __init__(self, shape: Shape, descriptors: Descriptors) -> None:
        self.programs = descriptors.programs
        self.maps = descriptors.maps
        self.memory = Memory(shape, descriptors.maps)
        self.control_fds = [self.maps["control"], self.maps["control_spare"]]
        self.control_rings = [_control_ring(fd, kernel.CONTROL_PAGES) for fd in self.control_fds]
        self.wire_fd = self.maps["wire_events"]
        self.wire_ring = _control_ring(self.wire_fd, kernel.WIRE_PAGES)
        self._wire_quiet = Map(self.maps["wire_quiet"], 4)
        self._connections = Map(self.maps["connections"], layout.CONNECTION.size)
        self._tails = Map(self.maps["tails"], layout.TAIL_VALUE.size)
        self._retired = Map(self.maps["retired"], 4)
        self._names = Map(self.maps["names"], layout.NAME.size)
        self._classes = Map(self.maps["classes"], 8)
        self.births = Births(Map(self.maps["births"], 8), self.memory)
        self._class_of: dict[bytes, int] = {}
        self._events: list[int] = []
        try:
            for program, number in descriptors.tracepoints:
                self._follow(number, self.programs[program])
            for name, program in kernel.RAW_TRACEPOINTS.items():
                self._events.append(syscalls.link_raw_tracepoint(name, self.programs[program]))
        except OSError as error:
            raise KernelError(
                f"tracepoints: {error.strerror}; run as root or with CAP_PERFMON"
            ) from None

    def _follow(self, tracepoint: int, program: int) -> None:
        event = syscalls.open_tracepoint(tracepoint)
        self._events.append(event)
        syscalls.start_event(event, program)

    def know(self, places: KernelLayout) -> None:
        """Where the fields of the kernel's own structs lie."""
        Map(self.maps["kernel_layout"], layout.KERNEL_LAYOUT.size).put(
            bytes(4), layout.KERNEL_LAYOUT.pack(*places, 0)
        )

    def name(self, pid: int, comm: str) -> None:
        """With the class that its name puts it into; what it executes later, the kernel names."""
        name = _packed(comm)
        own = layout.NAME.pack(name, self._class_of.get(name, 0))
        self._names.put(struct.pack("<I", pid), own)

    def set_classes(self, names: Mapping[str, int]) -> None:
        """By the names of processes; what has begun keeps its class."""
        wanted = {_packed(name): number for name, number in names.items()}
        for name in self._class_of.keys() - wanted.keys():
            self._classes.delete(name)
        for name, number in wanted.items():
            self._classes.put(name, number.to_bytes(8, "little"))
        self._class_of = wanted

    def take_connection(self, ssl: int, tgid: int) -> Entry | None:
        """Removes the entry of a process that has ended."""
        key = layout.CONNECTION_KEY.pack(ssl, tgid, 0)
        value = self._connections.get(key)
        if value is None:
            return None
        self._connections.delete(key)
        identity, _, egress, ingress, *rest = layout.CONNECTION.unpack(value)
        return Entry(identity, layout.counts(egress, ingress, tuple(rest[: 2 * layout.REASONS])))

    def take_tails(self) -> list[tuple[int, int, Counts]]:
        """(connection, shard, counts) of those that lost something since the last call."""
        taken: list[tuple[int, int, Counts]] = []
        while len(taken) < kernel.TAILS and (key := self._tails.first_key(8)) is not None:
            value = self._tails.get(key)
            if value is not None and self._tails.delete(key):
                egress, ingress, *lost, shard = layout.TAIL_VALUE.unpack(value)
                counts = layout.counts(egress, ingress, tuple(lost))
                taken.append((int.from_bytes(key, "little"), shard, counts))
        return taken

    def quieten(self, pid: int, until: int) -> None:
        """What the process does on the wire is not told before that window of the kernel's."""
        self._wire_quiet.put(struct.pack("<I", pid), struct.pack("<I", until))

    def retire(self, target: int) -> None:
        """Its probes are off: calls that began there never end to us."""
        self._retired.put(struct.pack("<I", target), bytes(4))

    def close(self) -> None:
        for event in self._events:
            os.close(event)
        self._events.clear()


def _packed(name: str) -> bytes:
    return name.encode(errors="replace")[: layout.NAME_SIZE - 1].ljust(layout.NAME_SIZE, b"\0")


def _control_ring(fd: int, pages: int) -> ControlRing:
    """Page 0: the consumer's position, writable; page 1: the producer's; then the data, twice."""
    size = pages * mmap.PAGESIZE
    consumer = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    producer = mmap.mmap(
        fd, mmap.PAGESIZE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE
    )
    return ControlRing(memoryview(consumer), memoryview(producer), size)
