"""Programs in Go that tests run, built once: modules and results stay in ~/.cache/plainwire-tests.

Versions are pinned by each program's go.mod and go.sum. Skips the test where the machine has no Go,
or where a module is neither there nor can be fetched.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.tools import CACHE, tool

TIMEOUT = 300


def build(source: Path) -> Path:
    tool("go")
    program = CACHE / "go" / f"{source.name}-{_digest(source)}"
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "GOMODCACHE": str(CACHE / "gomod"), "GOFLAGS": "-buildvcs=false -mod=readonly",
    }  # fmt: skip
    fetched = _go(source, environment, "mod", "download")
    if fetched.returncode:
        pytest.skip(f"modules of {source.name} can't be fetched: {fetched.stderr.strip()[-200:]}")
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        made = Path(folder) / "program"
        built = _go(source, environment, "build", "-o", str(made), ".")
        assert built.returncode == 0, built.stderr
        made.rename(program)
    return program


def _digest(source: Path) -> str:
    """Of what it is made of, and by what."""
    version = subprocess.run(["go", "version"], capture_output=True, check=True).stdout
    parts = [path.read_bytes() for path in sorted(source.iterdir())]
    return hashlib.sha256(version + b"\0".join(parts)).hexdigest()[:16]


def _go(
    source: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    return subprocess.run(
        ["go", *arguments], cwd=source, env=environment, capture_output=True, text=True,
        timeout=TIMEOUT, check=False,
    )  # fmt: skip
