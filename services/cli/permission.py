"""Whether this process may do what `run` and `up` do, before anything is started."""

from __future__ import annotations

import os
from pathlib import Path

from services.cli.errors import PLAINWIRE_FAILED, Failure

# linux/capability.h
CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 19, 21, 38, 39
NEEDED = {
    CAP_SYS_ADMIN: "CAP_SYS_ADMIN",  # the private mount namespace of run and up
    CAP_SYS_PTRACE: "CAP_SYS_PTRACE",
    CAP_PERFMON: "CAP_PERFMON",
    CAP_BPF: "CAP_BPF",
}


def effective() -> int:
    """This process's effective capabilities as a bit set."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def lacking(capabilities: int) -> list[str]:
    return [name for bit, name in NEEDED.items() if not capabilities >> bit & 1]


def check() -> None:
    if names := lacking(effective()):
        who = "as root" if os.geteuid() else "with these capabilities"
        raise Failure(f"{', '.join(names)} missing; run plainwire {who}", PLAINWIRE_FAILED)
