"""`python -m tests.support.verifier`: the stack that each of capture's programs takes, as JSON.

The kernel's verifier says it when it is asked to load a program. In a process of its own, because
tracefs is mounted where it is absent.
"""

from __future__ import annotations

import ctypes
import json
import re
import struct
import sys

from services import linux
from services.capture import syscalls
from services.capture.channel import Shape
from services.capture.child import kernel, tracefs
from services.capture.layout import Verdict

_STATISTICS = 4  # BPF_LOG_STATS
_SHAPE = Shape(2, 1 << 16, 1 << 18, 64, 1, Verdict.INCLUDE)


def depths() -> dict[str, int]:
    linux.mount_privately("tracefs", str(tracefs.MOUNT))
    tracepoints = tracefs.read(tuple(kernel.TRACEPOINTS), tuple(kernel.SYSCALLS))
    module = kernel._Module(kernel._flags(_SHAPE, tracepoints))
    return {name: _depth(name, code) for name, code in module._functions()}


def _depth(name: str, code: bytes) -> int:
    kind = kernel.kind_of(name)
    uprobe = syscalls.ATTACH_UPROBE_MULTI if kernel.version() >= kernel.MULTI_SINCE else 0
    program, licence = ctypes.create_string_buffer(code, len(code)), ctypes.c_char_p(b"GPL")
    log = ctypes.create_string_buffer(1 << 20)
    attributes = struct.pack(
        "<IIQQIIQII16sII",
        kind,
        len(code) // 8, ctypes.addressof(program),
        ctypes.cast(licence, ctypes.c_void_p).value or 0,
        _STATISTICS, len(log), ctypes.addressof(log), 0, 0, name.encode()[-15:], 0,
        uprobe if kind == syscalls.PROG_KPROBE else 0,
    )  # fmt: skip
    syscalls._bpf(syscalls.PROG_LOAD, attributes)
    found = re.search(r"stack depth ([\d+]+)", log.value.decode())
    assert found, f"the verifier says nothing of {name}"
    return sum(map(int, found[1].split("+")))


if __name__ == "__main__":
    json.dump(depths(), sys.stdout)
