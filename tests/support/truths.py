"""C programs (tests/e2e/apps/c) that log what they really said, run while capture looks on."""

from __future__ import annotations

import asyncio
import subprocess
from asyncio.subprocess import PIPE
from pathlib import Path

from services.messages import Direction
from tests.support.capturing import Delivered
from tests.support.tls_builds import Build

SECONDS = 60
Said = tuple[bytes, bytes]  # sent, received


async def run(build: Build, folder: Path, program: str, *words: str) -> tuple[int, str]:
    """Its pid and what it printed."""
    process = await asyncio.create_subprocess_exec(
        str(build.folder / program), *words,
        cwd=folder, env=build.environment(), stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    async with asyncio.timeout(SECONDS):
        printed, _ = await process.communicate(b"go\n")
    assert process.returncode == 0, f"{program} {words[0]} ended with {process.returncode}"
    return process.pid, printed.decode()


def folder(within: Path, name: str) -> Path:
    """An empty one for a program to write its logs into."""
    place = within / name
    place.mkdir()
    return place


def said(folder: Path) -> list[Said]:
    """By the programs' own logs, an entry an end of a connection."""
    ends = [path.with_suffix("") for path in folder.glob("*.sent")]
    return sorted(
        (end.with_suffix(".sent").read_bytes(), end.with_suffix(".received").read_bytes())
        for end in ends
    )


def delivered_of(delivered: Delivered, pid: int) -> list[Said]:
    """By capture, an entry a connection."""
    return sorted(
        (
            delivered.stream(connection, Direction.EGRESS).whole(),
            delivered.stream(connection, Direction.INGRESS).whole(),
        )
        for connection in delivered.of(pid)
    )


def certificate(folder: Path) -> Path:
    """A key and a self-signed certificate in one file."""
    both, alone = folder / "both.pem", folder / "alone.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
         "-days", "2", "-keyout", both, "-out", alone],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    both.write_bytes(both.read_bytes() + alone.read_bytes())
    return both
