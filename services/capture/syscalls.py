"""bpf(2) and perf_event_open(2), as thin as they can be. Knows numbers, not meanings.

libbcc wraps some of this, but not links, attach cookies or programs for uprobe_multi.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct

_NUMBERS = {
    "x86_64": {"bpf": 321, "perf_event_open": 298, "open_by_handle_at": 304},
    "aarch64": {"bpf": 280, "perf_event_open": 241, "open_by_handle_at": 265},
}

# The calls that move bytes through a descriptor.
_TRANSFERS = {
    "x86_64": {
        "read": 0, "write": 1, "readv": 19, "writev": 20,
        "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47,
    },
    "aarch64": {
        "read": 63, "write": 64, "readv": 65, "writev": 66,
        "sendto": 206, "recvfrom": 207, "sendmsg": 211, "recvmsg": 212,
    },
}  # fmt: skip

MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT_KEY = 1, 2, 3, 4
PROG_LOAD, RAW_TRACEPOINT_OPEN, LINK_CREATE = 5, 17, 28
PROG_KPROBE, PROG_TRACEPOINT, PROG_RAW_TRACEPOINT = 2, 5, 17
ATTACH_PERF_EVENT, ATTACH_UPROBE_MULTI = 41, 48
UPROBE_MULTI_RETURN = 1
PERF_TYPE_SOFTWARE, PERF_TYPE_TRACEPOINT = 1, 2
_FILEID_KERNFS = 0xFE
_DUMMY = 9  # the software event that never happens: for what comes beside it
_MMAP, _WATERMARK, _MMAP2 = 1 << 8, 1 << 14, 1 << 23  # bits of its flags: wake at every byte
PERF_FLAG_FD_CLOEXEC = 8
IOC_ENABLE, IOC_SET_BPF = 0x2400, 0x40042408
_LOG_SIZE = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(name: str, *arguments: object) -> int:
    number = _NUMBERS[platform.machine()][name]
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _call("bpf", command, buffer, len(attributes))


def transfers() -> dict[str, int]:
    """The numbers of the system calls that move bytes, on this machine."""
    return _TRANSFERS[platform.machine()]


def address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


class Map:
    """A hash or array by its file descriptor, keys and values as bytes."""

    def __init__(self, fd: int, value_size: int) -> None:
        self.fd = fd
        self._value_size = value_size

    def get(self, key: bytes) -> bytes | None:
        key_buffer = ctypes.create_string_buffer(key, len(key))
        value = ctypes.create_string_buffer(self._value_size)
        return value.raw if self._try(MAP_LOOKUP, key_buffer, address(value)) else None

    def put(self, key: bytes, value: bytes) -> None:
        key_buffer = ctypes.create_string_buffer(key, len(key))
        value_buffer = ctypes.create_string_buffer(value, len(value))
        _bpf(MAP_UPDATE, self._attributes(address(key_buffer), address(value_buffer)))

    def delete(self, key: bytes) -> bool:
        return self._try(MAP_DELETE, ctypes.create_string_buffer(key, len(key)), 0)

    def first_key(self, key_size: int) -> bytes | None:
        found = ctypes.create_string_buffer(key_size)
        return found.raw if self._try(MAP_NEXT_KEY, None, address(found)) else None

    def key_after(self, key: bytes) -> bytes | None:
        """The first one where `key` is there no more."""
        found = ctypes.create_string_buffer(len(key))
        before = ctypes.create_string_buffer(key, len(key))
        return found.raw if self._try(MAP_NEXT_KEY, before, address(found)) else None

    def _try(self, command: int, key: ctypes.Array[ctypes.c_char] | None, value: int) -> bool:
        try:
            _bpf(command, self._attributes(address(key) if key is not None else 0, value))
        except FileNotFoundError:
            return False
        return True

    def _attributes(self, key: int, value: int) -> bytes:
        return struct.pack("<IIQQQ", self.fd, 0, key, value, 0)


def load_program(kind: int, instructions: bytes, attach_type: int, name: str) -> int:
    """The program's file descriptor. Raises OSError; the verifier's last words are in its text."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    label = name.encode()[-15:]
    try:
        return _bpf(PROG_LOAD, _load(kind, code, licence, label, attach_type, None))
    except PermissionError as error:
        if error.errno == errno.EPERM:
            raise
    except OSError as error:
        if error.errno not in (errno.E2BIG, errno.EFAULT, errno.EINVAL):
            raise
    log = ctypes.create_string_buffer(_LOG_SIZE)
    try:
        return _bpf(PROG_LOAD, _load(kind, code, licence, label, attach_type, log))
    except OSError as error:
        said = log.value.decode(errors="replace").strip().splitlines()
        raise OSError(error.errno, f"program {name} is refused: {' / '.join(said[-3:])}") from None


def _load(
    kind: int,
    code: ctypes.Array[ctypes.c_char],
    licence: ctypes.Array[ctypes.c_char],
    label: bytes,
    attach_type: int,
    log: ctypes.Array[ctypes.c_char] | None,
) -> bytes:
    return struct.pack(
        "<IIQQIIQII16sII",
        kind, len(code) // 8, address(code), address(licence),
        1 if log is not None else 0, len(log) if log is not None else 0,
        address(log) if log is not None else 0,
        0, 0, label, 0, attach_type,
    )  # fmt: skip


def link_uprobes(program: int, path: bytes, places: list[tuple[int, int]], flags: int) -> int:
    """One uprobe_multi link for all (file offset, cookie), in every process (Linux 6.6)."""
    count = len(places)
    name = ctypes.create_string_buffer(path)
    offsets = _words([offset for offset, _ in places])
    cookies = _words([cookie for _, cookie in places])
    attributes = struct.pack(
        "<IIIIQQQQIII",
        program, 0, ATTACH_UPROBE_MULTI, 0,
        address(name), address(offsets), 0, address(cookies), count, flags, 0,
    )  # fmt: skip
    return _bpf(LINK_CREATE, attributes + bytes(4))


def _words(values: list[int]) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack(f"<{len(values)}Q", *values), 8 * len(values))


def link_perf_event(program: int, event: int, cookie: int) -> int:
    """A link with a cookie (Linux 5.15)."""
    attributes = struct.pack("<IIIIQ", program, event, ATTACH_PERF_EVENT, 0, cookie)
    return _bpf(LINK_CREATE, attributes)


def link_raw_tracepoint(name: str, program: int) -> int:
    """The program runs at the tracepoint until the descriptor is closed."""
    buffer = ctypes.create_string_buffer(name.encode())
    return _bpf(RAW_TRACEPOINT_OPEN, struct.pack("<QIIQ", address(buffer), program, 0, 0))


def open_uprobe(kind: int, path: bytes, offset: int, config: int) -> int:
    name = ctypes.create_string_buffer(path)
    return _open_event(kind, config, address(name), offset, name)


def open_tracepoint(number: int) -> int:
    return _open_event(PERF_TYPE_TRACEPOINT, number, 0, 0, None)


def open_mapping_events(cpu: int) -> int:
    """Whoever maps a file executable on this CPU is told of in the ring that is mapped of it."""
    attributes = struct.pack(
        "<IIQQQQQIIQQQ",
        PERF_TYPE_SOFTWARE, 112, _DUMMY, 0, 0, 0, _MMAP | _WATERMARK | _MMAP2, 1, 0, 0, 0, 0,
    )  # fmt: skip
    buffer = ctypes.create_string_buffer(attributes.ljust(112, b"\0"), 112)
    return _call("perf_event_open", buffer, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)


def start_event(event: int, program: int) -> None:
    """Lets the event run the program; it stops when the event's descriptor is closed."""
    fcntl.ioctl(event, IOC_SET_BPF, program)
    fcntl.ioctl(event, IOC_ENABLE, 0)


def _open_event(
    kind: int, config: int, config1: int, config2: int, keep: ctypes.Array[ctypes.c_char] | None
) -> int:
    """`keep` is what config1 points to. Every process; the program runs on all CPUs."""
    attributes = struct.pack(
        "<IIQQQQQIIQQQ", kind, 112, config, 1, 0, 0, 0, 1, 0, config1, config2, 0
    )
    buffer = ctypes.create_string_buffer(attributes.ljust(112, b"\0"), 112)
    return _call("perf_event_open", buffer, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)


def open_cgroup(mount: str, number: int) -> int:
    """A cgroup's directory by its number, which is its file handle; `mount` is cgroup version 2."""
    handle = ctypes.create_string_buffer(struct.pack("<IiQ", 8, _FILEID_KERNFS, number), 16)
    where = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _call("open_by_handle_at", where, handle, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(where)
