"""The BPF object: compiled by bcc and loaded, in a process of its own. The only importer of bcc.

A child does it, because LLVM's memory would else stay for ever, and because it may be started
before anything else is known. It hands over descriptors of programs and maps. Programs are not
loaded by bcc: uprobe_multi needs an attach type that bcc 0.26 cannot give.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import socket
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from services import linux
from services.capture import memory, syscalls
from services.capture.channel import KernelError, Loaded, Shape
from services.capture.child import headers, tracefs
from services.capture.syscalls import Map

BPF_FOLDER = Path(__file__).parents[1] / "bpf"
NEWTASK, EXEC, EXIT = "task/task_newtask", "sched/sched_process_exec", "sched/sched_process_exit"
TRACEPOINTS = {NEWTASK: "on_newtask", EXEC: "on_exec", EXIT: "on_exit"}
# What crosses a socket: kernels without CONFIG_FTRACE_SYSCALLS have none of these.
SENDING, RECEIVING = (
    ("write", "sendto", "writev", "sendmsg"),
    ("read", "recvfrom", "readv", "recvmsg"),
)
SYSCALLS = {
    **{f"syscalls/sys_enter_{name}": f"on_{name}" for name in (*SENDING, *RECEIVING)},
    **{f"syscalls/sys_exit_{name}": "on_received" for name in RECEIVING},
}
# By name, without tracefs; they pass what the kernel passed, not fields.
RAW_TRACEPOINTS = {"sys_enter": "on_syscall"}
MAPS = (
    "shard_rings", "spare_rings", "shared", "marks", "control", "control_spare", "connections",
    "tails", "names", "births", "classes", "more", "wire_events", "wire_quiet", "kernel_layout",
    "retired",
)  # fmt: skip
MORE = ("on_more_egress", "on_more_ingress", "on_more_go_egress", "on_more_go_ingress")
CALLS, GO_CALLS, CONTROL_PAGES, PIECES = 32768, 32768, 256, 24
NAMES, TAILS, WIRE_PAGES, EXPECTED, RETIRED = 32768, 4096, 16, 16384, 4096
MULTI_SINCE, COOKIE_SINCE, OLDEST = (6, 6), (5, 15), (5, 12)
_MOST_DESCRIPTORS = 250  # of one message; SCM_MAX_FD is 253
_MOST_BYTES = 64 << 10


@dataclass(frozen=True)
class Descriptors:
    """`tracepoints` are (program, tracepoint's number)."""

    programs: dict[str, int]
    maps: dict[str, int]
    tracepoints: tuple[tuple[str, int], ...]


def version() -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(match[1]), int(match[2])) if match else (0, 0)


class Loading:
    """The child at work; start it before there are threads."""

    def __init__(self, shape: Shape) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            _run_child(shape, theirs, parent)
        theirs.close()

    def wait(self) -> Descriptors:
        """Blocks, about half a second. Raises KernelError."""
        with self._channel:
            data, descriptors, _, _ = socket.recv_fds(self._channel, _MOST_BYTES, _MOST_DESCRIPTORS)
        os.waitpid(self._child, 0)
        if not data:
            raise KernelError("bcc ended without a result; run `plainwire doctor`")
        loaded = msgspec.json.decode(data, type=Loaded)
        if loaded.problem:
            raise KernelError(loaded.problem)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        count = len(loaded.programs)
        return Descriptors(
            dict(zip(loaded.programs, descriptors[:count], strict=True)),
            dict(zip(loaded.maps, descriptors[count:], strict=True)),
            loaded.tracepoints,
        )


def _run_child(shape: Shape, channel: socket.socket, parent: int) -> None:
    """Never returns: the parent's handlers and buffers are not this process's to run."""
    status = 1
    try:
        linux.die_with_parent()
        if os.getppid() != parent:  # it had died before the call
            return
        try:
            loaded, descriptors = _load(shape)
        except OSError as error:
            loaded, descriptors = Loaded(problem=error.strerror or str(error)), []
        socket.send_fds(channel, [msgspec.json.encode(loaded)], descriptors)
        status = 0
    finally:
        os._exit(status)


def program_of(tracepoint: str) -> str:
    return TRACEPOINTS.get(tracepoint) or SYSCALLS[tracepoint]


def _load(shape: Shape) -> tuple[Loaded, list[int]]:
    if version() < OLDEST:
        raise KernelError(f"Linux {platform.release()} is too old: 5.12 is needed")
    try:
        tracepoints = tracefs.read(tuple(TRACEPOINTS), tuple(SYSCALLS))
    except OSError as error:
        raise KernelError(f"tracefs: {error.strerror}; mount it at {tracefs.MOUNT}") from None
    module = _Module(_flags(shape, tracepoints))
    programs = module.load_programs()
    maps = {name: module.table(name) for name in MAPS}
    more = Map(maps["more"], 4)
    for index, name in enumerate(MORE):
        more.put(struct.pack("<I", index), struct.pack("<I", programs[name]))
    numbers = tuple((program_of(name), found.number) for name, found in tracepoints.items())
    return Loaded(tuple(programs), MAPS, numbers), [*programs.values(), *maps.values()]


class _Module:
    """bcc's own BPF class is not used: it attaches, exits and cleans up on its own terms."""

    def __init__(self, flags: list[str]) -> None:
        self._module, self._library = _compile(flags)

    def table(self, name: str) -> int:
        return int(self._library.bpf_table_fd(self._module, name.encode()))

    def load_programs(self) -> dict[str, int]:
        attach_type = syscalls.ATTACH_UPROBE_MULTI if version() >= MULTI_SINCE else 0
        programs = {}
        for name, code in self._functions():
            kind = kind_of(name)
            attach = attach_type if kind == syscalls.PROG_KPROBE else 0
            try:
                programs[name] = syscalls.load_program(kind, code, attach, name)
            except PermissionError as error:
                raise KernelError(f"{error.strerror}; run as root or with CAP_BPF") from None
            except OSError as error:
                raise KernelError(f"{error.strerror}; see `plainwire doctor`") from None
        return programs

    def _functions(self) -> Iterator[tuple[str, bytes]]:
        library, module = self._library, self._module
        for index in range(library.bpf_num_functions(module)):
            name = library.bpf_function_name(module, index)
            start = library.bpf_function_start(module, name)
            yield name.decode(), ctypes.string_at(start, library.bpf_function_size(module, name))


def kind_of(program: str) -> int:
    """What is no tracepoint's is a probe's."""
    if program in RAW_TRACEPOINTS.values():
        return syscalls.PROG_RAW_TRACEPOINT
    own = program in TRACEPOINTS.values() or program in SYSCALLS.values()
    return syscalls.PROG_TRACEPOINT if own else syscalls.PROG_KPROBE


def source() -> str:
    """The files of bpf/ are one object: bcc rewrites map calls only in a file that it is given."""
    return "\n".join(path.read_text() for path in sorted(BPF_FOLDER.glob("[0-9]_*.c")))


def _flags(shape: Shape, tracepoints: dict[str, tracefs.Tracepoint]) -> list[str]:
    constants = {
        "SHARDS": shape.shards,
        "SHARD_RING": f"{shape.shard_ring}ULL",
        "SPARE_RING": f"{shape.spare_ring}ULL",
        "CONTROL_PAGES": CONTROL_PAGES,
        "PIDS": f"{memory.pids()}ULL",
        "NAMES": NAMES,
        "CONNECTIONS": shape.connections,
        "CALLS": CALLS,
        "GO_CALLS": GO_CALLS,
        "TAILS": TAILS,
        "RETIRED": RETIRED,
        "PIECES": PIECES,
        "SALT": f"{shape.salt}ULL",
        "DEFAULT_VERDICT": int(shape.default),
        "EXPECTED": EXPECTED,
        **{f"SYS_{name.upper()}": number for name, number in syscalls.transfers().items()},
        "HAVE_COOKIE": int(version() >= COOKIE_SINCE),
        "NEWTASK_PID": tracepoints[NEWTASK].fields["pid"],
        "NEWTASK_FLAGS": tracepoints[NEWTASK].fields["clone_flags"],
        "EXIT_GROUP_DEAD": tracepoints[EXIT].fields.get("group_dead", -1),
        "WIRE_PAGES": WIRE_PAGES,
        "SYSCALL_ARGUMENTS": _field(tracepoints, "syscalls/sys_enter_write", "fd"),
        "SYSCALL_RESULT": _field(tracepoints, "syscalls/sys_exit_read", "ret"),
    }
    return [f"-I{BPF_FOLDER}", *(f"-D{name}={value}" for name, value in constants.items())]


def _field(tracepoints: dict[str, tracefs.Tracepoint], name: str, field: str) -> int:
    """16 where there is no such tracepoint: its program is then loaded, and attached to nothing."""
    found = tracepoints.get(name)
    return found.fields[field] if found else 16


def _compile(flags: list[str]) -> tuple[ctypes.c_void_p, ctypes.CDLL]:
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
