"""Counts hits of probe sites by the kernel's perf events: no bcc, no tracefs.

By everybody who maps the file: events that children inherit would read the path from memory of
the process that forks, and its forks would fail.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from services.messages import Site

_PMU = Path("/sys/bus/event_source/devices/uprobe")
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}[os.uname().machine]
_CLOEXEC = 8
_ATTR = struct.Struct("<IIQQQQQIIQQ40x")  # struct perf_event_attr up to config2, then zeros
_libc = ctypes.CDLL(None, use_errno=True)


class Counter:
    def __init__(self, path: str, site: Site) -> None:
        self._path = ctypes.create_string_buffer(os.fsencode(path))
        self._attributes = ctypes.create_string_buffer(
            _ATTR.pack(
                int((_PMU / "type").read_text()),
                _ATTR.size,
                int(site.kind == "uretprobe") << _return_bit(),
                0,
                0,
                0,
                0,
                0,
                0,
                ctypes.addressof(self._path),
                site.offset,
            )
        )
        self._descriptors = [self._open(cpu) for cpu in range(os.cpu_count() or 1)]

    def _open(self, cpu: int) -> int:
        arguments = (ctypes.byref(self._attributes), -1, cpu, -1, _CLOEXEC)
        descriptor: int = _libc.syscall(_PERF_EVENT_OPEN, *arguments)
        if descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "perf_event_open")
        return descriptor

    def hits(self) -> int:
        return sum(int.from_bytes(os.read(d, 8), "little") for d in self._descriptors)

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)


def _return_bit() -> int:
    return int((_PMU / "format" / "retprobe").read_text().strip().removeprefix("config:"))


@contextmanager
def counting(path: str, sites: tuple[Site, ...]) -> Iterator[list[Counter]]:
    with ExitStack() as stack:
        counters = []
        for site in sites:
            counters.append(Counter(path, site))
            stack.callback(counters[-1].close)
        yield counters
