"""How long it takes from the moment that a program has mapped a library which nobody has met before
until it is probed.

Each round copies the system's libssl: a file of its own, at a new path. The time ends when capture
says that it is attached.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import nats
from nats.aio.client import Client

from services import subjects
from tests.support import pipeline

PROGRAM = "import ssl, sys, time; print(time.monotonic(), flush=True); sys.stdin.read()"
ROUNDS = 10


async def _attached(client: Client) -> set[int]:
    subject = f"plainwire.capture.ready.{subjects.token(pipeline.NODE)}"
    told = msgspec.json.decode((await client.request(subject, timeout=10)).data)
    return {int(key.partition("-")[2], 16) for key in told["attached"]}


async def _measure(url: str, folder: Path, rounds: int) -> list[float]:
    client = await nats.connect(url)
    times = []
    for number in range(rounds):
        library = folder / str(number) / "libssl.so.3"
        library.parent.mkdir()
        shutil.copy(pipeline.system_libssl(), library)
        inode = library.stat().st_ino
        environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
        with subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        ) as process:
            assert process.stdout is not None
            begun = float(process.stdout.readline())
            while inode not in await _attached(client):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            times.append(time.monotonic() - begun)
            process.communicate()
        await asyncio.sleep(0.5)
    await client.close()
    return times


def measure(rounds: int = ROUNDS) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with pipeline.running(folder, PLAINWIRE_DISCOVERY_INTERVAL="3600") as line:
            times = asyncio.run(_measure(line.url, folder, rounds))
            counters = line.ledger("discovery").counters
    milliseconds = sorted(1000 * t for t in times)
    return {
        "mapped_to_attached_ms": statistics.median(milliseconds),
        "mapped_to_attached_worst_ms": milliseconds[-1],
        "look_cpu_ms": counters["look_cpu_us"] / counters["looks"] / 1000,
    }
