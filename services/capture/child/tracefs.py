"""Tracepoints: their numbers and where their fields lie, as this kernel's tracefs says.

tracefs is often not mounted. Then a thread mounts it in a mount namespace that ends with the
thread, so that nothing is left behind.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

from services import linux

MOUNT = "/sys/kernel/tracing"
_ROOTS = (Path(MOUNT), Path("/sys/kernel/debug/tracing"))
_FIELD = re.compile(r"field:.*?(\w+)(?:\[\d*\])?;\s*offset:(\d+);")


@dataclass(frozen=True)
class Tracepoint:
    number: int
    fields: dict[str, int] = field(default_factory=dict)  # name -> offset


def read(names: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Tracepoint]:
    """Names like `sched/sched_process_exit`; the optional may be absent. Raises OSError."""
    for root in _ROOTS:
        if (root / "events" / names[0] / "id").exists():
            return _read(root, names, optional)
    found: dict[str, Tracepoint] = {}
    problems: list[OSError] = []

    def look() -> None:
        try:
            linux.mount_privately("tracefs", MOUNT)
            found.update(_read(Path(MOUNT), names, optional))
        except OSError as error:
            problems.append(error)

    thread = threading.Thread(target=look, name="tracefs")
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return found


def _read(root: Path, names: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, Tracepoint]:
    events = root / "events"
    there = (*names, *(name for name in optional if (events / name / "format").exists()))
    return {name: parse((events / name / "format").read_text()) for name in there}


def parse(text: str) -> Tracepoint:
    number = re.search(r"^ID: (\d+)$", text, re.MULTILINE)
    if number is None:
        raise OSError("a tracepoint's format has no ID")
    fields = {name: int(offset) for name, offset in _FIELD.findall(text)}
    return Tracepoint(int(number[1]), fields)
