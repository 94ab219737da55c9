"""The real NATS CLI, built once by Go into the user's cache: what people tap with."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.tools import CACHE

VERSION = "v0.4.0"
_PACKAGE = "github.com/nats-io/natscli"
_MODULE = f"""module natscli
go 1.25
require {_PACKAGE} {VERSION}
"""


def executable() -> Path | None:
    """None where there is no Go that can build it."""
    folder = CACHE / f"natscli-{VERSION}"
    binary = folder / "nats"
    if not binary.exists() and not _build(folder, binary):
        return None
    return binary


def _build(folder: Path, binary: Path) -> bool:
    if shutil.which("go") is None:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "go.mod").write_text(_MODULE)
    unfinished = folder / f"nats.{os.getpid()}"
    done = subprocess.run(
        ["go", "build", "-o", str(unfinished), f"{_PACKAGE}/nats"],
        cwd=folder,
        env={**os.environ, "GOFLAGS": "-mod=mod"},
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        unfinished.replace(binary)
    return done.returncode == 0
