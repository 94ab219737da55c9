"""Whether this process may do what `run` and `up` do, before anything is started."""

from __future__ import annotations

import os
from pathlib import Path

from services.cli.checks import lacking
from services.cli.errors import PLAINWIRE_FAILED, Failure


def effective() -> int:
    """This process's effective capabilities as a bit set."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def check() -> None:
    """Raises Failure."""
    if names := lacking(effective()):
        who = "as root" if os.geteuid() else "with these capabilities"
        raise Failure(f"{', '.join(names)} missing; run plainwire {who}", PLAINWIRE_FAILED)
