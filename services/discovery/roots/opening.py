"""Opens files of strangers for reading, bounded.

A path may lead anywhere, to a FIFO or to a file that changes while it is read: only regular files
are opened, and read by `pread`, never mapped (a mapping of a truncated file kills its reader).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from services.discovery.code.elf import MalformedElf, Read
from services.discovery.roots import rooted

_SAFELY = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
MAX_READ = 128 << 20  # bytes that one file may cost


@contextmanager
def opened(path: str) -> Iterator[tuple[Read, os.stat_result]]:
    """Raises OSError; reading raises MalformedElf where the file asks for more than is bearable."""
    with _readable(os.open(path, _SAFELY)) as found:
        yield found


@contextmanager
def opened_beside(folder: str, name: str) -> Iterator[tuple[Read, os.stat_result]]:
    """Likewise, by links that don't lead out of the folder."""
    with _readable(rooted.open_in(folder, name, rooted.BENEATH, _SAFELY)) as found:
        yield found


@contextmanager
def _readable(descriptor: int) -> Iterator[tuple[Read, os.stat_result]]:
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        yield _bounded(descriptor), status
    finally:
        os.close(descriptor)


def contents(path: str, most: int) -> bytes:
    """A small file, whole. Raises OSError, also where it is larger."""
    with opened(path) as (read, status):
        if status.st_size > most:
            raise OSError("too large")
        return read(0, status.st_size)


def _bounded(descriptor: int) -> Read:
    left = MAX_READ

    def read(offset: int, size: int) -> bytes:
        nonlocal left
        left -= size
        if left < 0 or offset >> 62:
            raise MalformedElf("it asks for more reading than a real file does")
        return os.pread(descriptor, size, offset)

    return read
