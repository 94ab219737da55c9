"""What a test may not leave behind: processes that descend from it, however they were started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "TEST_RUN_MARK"
GONE_SECONDS = 5


@contextmanager
def none_left(name: str) -> Iterator[None]:
    """Marks the environment that children inherit, and looks for the mark in the end."""
    os.environ[MARK] = f"{os.getpid()}-{name}"
    try:
        yield
        deadline = time.monotonic() + GONE_SECONDS
        while (left := _marked(os.environ[MARK])) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left, f"left behind: {left}"
    finally:
        del os.environ[MARK]


def _marked(mark: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
        except OSError:
            continue  # it ended meanwhile
    return found
