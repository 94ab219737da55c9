"""What /proc says about processes. A process may end at any moment: then the answer is None.

Knows file formats of procfs, nothing about TLS or targets. Names and paths are bytes of strangers:
decoded with surrogateescape, never trusted.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from services.lifetimes import TICK_NS, is_same_start

PROC = "/proc"
_MAX_READ = 16 << 20
_CHUNK = 1 << 14  # procfs gives a page at a time; a larger buffer only costs its allocation
_GONE = (FileNotFoundError, ProcessLookupError)
_MAPPING = re.compile(
    rb"^([0-9a-f]+-[0-9a-f]+) [r-][w-]x[sp-] [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ (\d+) +(/.*)$",
    re.MULTILINE,
)
_DELETED = b" (deleted)"


class Stat(NamedTuple):
    process: str  # the main thread's comm
    parent: int
    state: str  # one letter; Z and X have ended
    start_boot_ns: int  # to the kernel's tick, 10 ms
    mapped: int  # bytes of address space; none of a kernel thread


class Mapping(NamedTuple):
    """A file mapped executable. `path` is as the process' own root sees it."""

    span: str
    inode: int
    path: str
    deleted: bool


def pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdecimal()]


def stat(pid: int) -> Stat | None:
    raw = _read(f"{PROC}/{pid}/stat")
    name_end = raw.rfind(b")") if raw else -1
    if not raw or name_end < 0:
        return None
    fields = raw[name_end + 2 :].split()
    process = raw[raw.find(b"(") + 1 : name_end].decode(errors="replace")
    start = int(fields[19]) * TICK_NS
    return Stat(process, int(fields[1]), fields[0].decode(), start, int(fields[20]))


def arguments(pid: int) -> tuple[str, ...]:
    raw = _read(f"{PROC}/{pid}/cmdline") or b""
    return tuple(os.fsdecode(part) for part in raw.split(b"\0")[:-1])


def is_alive(pid: int, start_boot_ns: int) -> bool:
    """Whether that very process is; a start of 0 is any."""
    found = stat(pid)
    if found is None or found.state in "ZX":
        return False
    return not start_boot_ns or is_same_start(found.start_boot_ns, start_boot_ns)


def is_unreadable(pid: int) -> bool:
    """Whether it is there, and what it runs or has mapped is not ours to read. CAP_PERFMON may be
    enough for the one and not for the other."""
    try:
        os.close(os.open(f"{PROC}/{pid}/maps", os.O_RDONLY | os.O_CLOEXEC))
        os.readlink(executable(pid))
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def mappings(pid: int, *containing: bytes) -> list[Mapping] | None:
    """Executable file mappings whose path contains some of these; None if it can't be read."""
    raw = _read(f"{PROC}/{pid}/maps")
    if raw is None or not any(some in raw for some in containing):
        return None if raw is None else []
    return [_mapping(m) for m in _MAPPING.finditer(raw) if any(some in m[3] for some in containing)]


def _mapping(match: re.Match[bytes]) -> Mapping:
    path = match[3].replace(b"\\012", b"\n")
    deleted = path.endswith(_DELETED)
    name = path.removesuffix(_DELETED) if deleted else path
    return Mapping(match[1].decode(), int(match[2]), os.fsdecode(name), deleted)


def cgroup(pid: int) -> str | None:
    raw = _read(f"{PROC}/{pid}/cgroup")
    return None if raw is None else raw.decode(errors="backslashreplace")


def executable(pid: int) -> str:
    return f"{PROC}/{pid}/exe"


def link(path: str) -> str:
    """Where a link of procfs points, as text, or the path itself."""
    try:
        return os.readlink(path)
    except OSError:
        return path


def shown(path: str) -> str:
    """As text that may be told: a path is any bytes, which are no UTF-8 where a stranger likes."""
    return os.fsencode(path).decode(errors="backslashreplace")


def mount_table(pid: int) -> str:
    return (_read(f"{PROC}/{pid}/mountinfo") or b"").decode(errors="surrogateescape")


def in_root(pid: int, path: str) -> str:
    """The path that opens, from here, what the process calls `path`."""
    return f"{PROC}/{pid}/root{path}"


def map_file(pid: int, mapping: Mapping) -> str:
    """The path that opens a mapped file itself, also one that no directory names any more."""
    return f"{PROC}/{pid}/map_files/{mapping.span}"


def _read(path: str) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (*_GONE, PermissionError):
        return None
    try:
        return _read_all(descriptor)
    except (*_GONE, PermissionError):
        return None
    finally:
        os.close(descriptor)


def _read_all(descriptor: int) -> bytes:
    parts, size = [], 0
    while size < _MAX_READ and (part := os.read(descriptor, _CHUNK)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)
