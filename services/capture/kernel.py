"""The BPF object: compiled once by bcc, loaded, its maps mapped. The only importer of bcc.

bcc compiles and makes the maps; programs are loaded here, because uprobe_multi needs an attach
type that bcc 0.26 cannot give. Every failure is a KernelError of one line with the mend.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.capture import headers, layout, syscalls, tracefs
from services.capture.layout import Counts, Verdict
from services.capture.rings import ControlRing, Ring
from services.capture.syscalls import Map

BPF_FOLDER = Path(__file__).parent / "bpf"
NEWTASK, EXEC, EXIT = "task/task_newtask", "sched/sched_process_exec", "sched/sched_process_exit"
TRACEPOINTS = {NEWTASK: "on_newtask", EXEC: "on_exec", EXIT: "on_exit"}
CALLS, CONTROL_PAGES, PIECES, NAMES = 32768, 256, 8, 32768
MULTI_SINCE, COOKIE_SINCE, OLDEST = (6, 6), (5, 15), (5, 12)


class KernelError(OSError):
    """What the kernel or bcc refuses, in one line with the mend."""


@dataclass(frozen=True)
class Shape:
    """The constants that the object is compiled with; rings are powers of two, in bytes."""

    shards: int
    shard_ring: int
    spare_ring: int
    connections: int
    salt: int
    default: Verdict


@dataclass(frozen=True)
class Entry:
    """A connection's entry, taken out of the kernel."""

    connection: int
    counts: Counts


def version() -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(match[1]), int(match[2])) if match else (0, 0)


class Kernel:
    """Made by `load`; what it attached and mapped ends with `close`, or with the process."""

    def __init__(self, shape: Shape, module: ctypes.c_void_p, library: ctypes.CDLL) -> None:
        self._library, self._module = library, module
        self.multi = version() >= MULTI_SINCE
        self.tracepoints: list[int] = []
        self.programs = self._load_programs()
        self._map_memory(shape)
        self._open_maps()

    def _load_programs(self) -> dict[str, int]:
        attach_type = syscalls.ATTACH_UPROBE_MULTI if self.multi else 0
        programs = {}
        for name, code in self._functions():
            tracepoint = name in TRACEPOINTS.values()
            kind = syscalls.PROG_TRACEPOINT if tracepoint else syscalls.PROG_KPROBE
            try:
                programs[name] = syscalls.load_program(
                    kind, code, 0 if tracepoint else attach_type, name
                )
            except PermissionError as error:
                raise KernelError(f"{error.strerror}; run as root or with CAP_BPF") from None
            except OSError as error:
                raise KernelError(f"{error.strerror}; see `plainwire doctor`") from None
        more = Map(self._table("more"), 4)
        for index, name in enumerate(("on_more_egress", "on_more_ingress")):
            more.put(struct.pack("<I", index), struct.pack("<I", programs[name]))
        return programs

    def _functions(self) -> Iterator[tuple[str, bytes]]:
        library = self._library
        for index in range(library.bpf_num_functions(self._module)):
            name = library.bpf_function_name(self._module, index)
            start = library.bpf_function_start(self._module, name)
            yield (
                name.decode(),
                ctypes.string_at(start, library.bpf_function_size(self._module, name)),
            )

    def _map_memory(self, shape: Shape) -> None:
        stride = layout.ring_stride(shape.shard_ring)
        shards = _mapped(self._table("shard_rings"), stride * shape.shards)
        self.shard_rings = [
            Ring(shards[i * stride : (i + 1) * stride], shape.shard_ring)
            for i in range(shape.shards)
        ]
        spare = _mapped(self._table("spare_rings"), layout.ring_stride(shape.spare_ring))
        self.spare_ring = Ring(spare, shape.spare_ring)
        self.shared = _mapped(self._table("shared"), layout.SHARED_SIZE).cast("Q")
        self._marks = _mapped(self._table("marks"), _pids())
        self.control_fds = [self._table("control"), self._table("control_spare")]
        self.control_rings = [_control_ring(fd) for fd in self.control_fds]

    def _open_maps(self) -> None:
        self._connections = Map(self._table("connections"), layout.CONNECTION.size)
        self._tails = Map(self._table("tails"), layout.TAIL_VALUE.size)
        self._names = Map(self._table("names"), layout.NAME_SIZE)

    def _table(self, name: str) -> int:
        return int(self._library.bpf_table_fd(self._module, name.encode()))

    def verdict(self, pid: int) -> Verdict:
        return Verdict(self._marks[pid] & layout.VERDICT_MASK)

    def set_verdict(self, pid: int, verdict: Verdict) -> None:
        """It spreads to the process's later children, and ends with the process."""
        self._marks[pid] = (self._marks[pid] & ~layout.VERDICT_MASK) | verdict

    def name(self, pid: int, comm: str) -> None:
        value = comm.encode(errors="replace")[: layout.NAME_SIZE - 1]
        self._names.put(struct.pack("<I", pid), value.ljust(layout.NAME_SIZE, b"\0"))

    def take_connection(self, ssl: int, tgid: int) -> Entry | None:
        """Removes the entry of a process that has ended."""
        key = layout.CONNECTION_KEY.pack(ssl, tgid, 0)
        value = self._connections.get(key)
        if value is None:
            return None
        self._connections.delete(key)
        identity, _, egress, ingress, *rest = layout.CONNECTION.unpack(value)
        return Entry(identity, layout.counts(egress, ingress, tuple(rest[:8])))

    def take_tails(self) -> list[tuple[int, int, Counts]]:
        """(connection, shard, counts) of those that lost something since the last call."""
        taken = []
        while (key := self._tails.first_key(8)) is not None:
            value = self._tails.get(key)
            if value is not None and self._tails.delete(key):
                egress, ingress, *lost, shard = layout.TAIL_VALUE.unpack(value)
                counts = layout.counts(egress, ingress, tuple(lost))
                taken.append((int.from_bytes(key, "little"), shard, counts))
        return taken

    def follow_processes(self, tracepoints: dict[str, tracefs.Tracepoint]) -> None:
        for name, program in TRACEPOINTS.items():
            event = syscalls.open_tracepoint(tracepoints[name].number)
            syscalls.start_event(event, self.programs[program])
            self.tracepoints.append(event)

    def close(self) -> None:
        for event in self.tracepoints:
            os.close(event)
        self.tracepoints.clear()


def load(shape: Shape) -> Kernel:
    """Compiles (about half a second) and loads. Raises KernelError."""
    if version() < OLDEST:
        raise KernelError(f"Linux {platform.release()} is too old: 5.12 is needed")
    try:
        tracepoints = tracefs.read(tuple(TRACEPOINTS))
    except OSError as error:
        raise KernelError(f"tracefs: {error.strerror}; mount it at {tracefs.MOUNT}") from None
    module, library = _compile(_flags(shape, tracepoints))
    kernel = Kernel(shape, module, library)
    try:
        kernel.follow_processes(tracepoints)
    except OSError as error:
        raise KernelError(
            f"tracepoints: {error.strerror}; run as root or with CAP_PERFMON"
        ) from None
    return kernel


def source() -> str:
    """The files of bpf/ are one object: bcc rewrites map calls only in a file that it is given."""
    return "\n".join(path.read_text() for path in sorted(BPF_FOLDER.glob("[0-9]_*.c")))


def _flags(shape: Shape, tracepoints: dict[str, tracefs.Tracepoint]) -> list[str]:
    constants = {
        "SHARDS": shape.shards,
        "SHARD_RING": f"{shape.shard_ring}ULL",
        "SPARE_RING": f"{shape.spare_ring}ULL",
        "CONTROL_PAGES": CONTROL_PAGES,
        "PIDS": f"{_pids()}ULL",
        "NAMES": NAMES,
        "CONNECTIONS": shape.connections,
        "CALLS": CALLS,
        "PIECES": PIECES,
        "SALT": f"{shape.salt}ULL",
        "DEFAULT_VERDICT": int(shape.default),
        "HAVE_COOKIE": int(version() >= COOKIE_SINCE),
        "NEWTASK_PID": tracepoints[NEWTASK].fields["pid"],
        "NEWTASK_FLAGS": tracepoints[NEWTASK].fields["clone_flags"],
        "EXIT_GROUP_DEAD": tracepoints[EXIT].fields.get("group_dead", -1),
    }
    return [f"-I{BPF_FOLDER}", *(f"-D{name}={value}" for name, value in constants.items())]


def _compile(flags: list[str]) -> tuple[ctypes.c_void_p, ctypes.CDLL]:
    """bcc's own BPF class is not used: it attaches, exits and cleans up on its own terms."""
    try:
        from bcc.libbcc import lib
    except (ImportError, OSError) as error:
        raise KernelError(
            f"bcc is missing ({error}); install python3-bpfcc, use /usr/bin/python3's venv"
        ) from None
    with tempfile.TemporaryDirectory(prefix="plainwire-headers-") as private:
        tree = headers.find(dict(os.environ), Path(private) / "tree")
        if tree is not None:
            os.environ["BCC_KERNEL_SOURCE"] = str(tree)
        try:
            arguments = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
            module = lib.bpf_module_create_c_from_string(
                source().encode(), 0, arguments, len(flags), True, None
            )
        finally:
            if tree is not None and str(tree).startswith(private):
                del os.environ["BCC_KERNEL_SOURCE"]
    if not module:
        raise KernelError("bcc could not compile the probes; its reasons are above")
    return ctypes.c_void_p(module), lib


def _mapped(fd: int, size: int) -> memoryview:
    size = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
    try:
        return memoryview(mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))
    except OSError as error:
        raise KernelError(f"can't map the rings: {error.strerror}; lower ring_mib") from None


def _control_ring(fd: int) -> ControlRing:
    """Page 0: the consumer's position, writable; page 1: the producer's; then the data, twice."""
    size = CONTROL_PAGES * mmap.PAGESIZE
    consumer = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    producer = mmap.mmap(
        fd, mmap.PAGESIZE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE
    )
    return ControlRing(memoryview(consumer), memoryview(producer), size)


def _pids() -> int:
    highest = int(Path("/proc/sys/kernel/pid_max").read_text())
    return max(mmap.PAGESIZE, 1 << (highest - 1).bit_length())
