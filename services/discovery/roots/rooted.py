"""Looks at files below a folder of strangers, and never out of it.

Links in a container's file system are its own words: they are resolved inside its root, or not at
all. Knows openat2(2); a kernel without it (before 5.6) is told by the error.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_OPENAT2 = 437  # on every architecture
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH, _IN_ROOT = 0x02, 0x04, 0x08, 0x10
INSIDE = _IN_ROOT | _NO_MAGICLINKS  # links lead on as they would for who has this root
BENEATH = _BENEATH | _NO_MAGICLINKS  # a link that leads out is an error
PLAIN = _BENEATH | _NO_SYMLINKS  # no links at all

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def open_in(folder: str, path: str, how: int, flags: int = os.O_PATH) -> int:
    """Raises OSError. `path` has no slash before it."""
    where = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        asked = struct.pack("<QQQ", flags | os.O_CLOEXEC, 0, how)
        found = int(_libc.syscall(_OPENAT2, where, os.fsencode(path), asked, len(asked)))
        if found < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return found
    finally:
        os.close(where)


@contextmanager
def opened_in(folder: str, path: str, how: int) -> Iterator[int]:
    descriptor = open_in(folder, path, how)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
