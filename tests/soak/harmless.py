"""Capture does its targets no harm: killed at any moment it leaves no probe; cycles leak nothing.

The target is a C program under full load on a libssl of its own; the kills fall at random moments.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from services import subjects
from services.messages import ServiceLedger, Target, Targets
from tests.support import truths
from tests.support.capturing import NODE, Capture, capturing, until
from tests.support.tls_builds import Build, build

BREAKPOINT = 0xCC
LONGEST = 0.5  # seconds of load before a kill
SPARE_DESCRIPTORS = 4  # what sockets and timers may come and go


def kills(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = build("host", Path(folder) / "build")
        asyncio.run(kill_again_and_again(made, Path(folder), given.kills))


def cycles(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = build("host", Path(folder) / "build")
        asyncio.run(attach_and_detach(made, Path(folder), given.cycles))


async def kill_again_and_again(made: Build, folder: Path, times: int) -> None:
    """The service alone, or the process that holds its probes first, while these come and go."""
    target, chance = made.target(), random.Random(11)
    wanted = Targets(node="here", time_ns=0, targets=(target,))
    async with talking(made, folder) as talker:
        for number in range(times):
            async with capturing(folder, wanted) as capture, asyncio.TaskGroup() as tasks:
                assert probed(talker.pid, target), "nothing is probed"
                churning = tasks.create_task(churn(capture, wanted), name="churn")
                await asyncio.sleep(chance.uniform(0, LONGEST))
                if number % 2:
                    os.kill(children(capture.process.pid)[0], signal.SIGKILL)
                capture.kill()
                churning.cancel()
                await until(lambda: not probed(talker.pid, target))
                assert talker.returncode is None, "the target has ended"


async def churn(capture: Capture, wanted: Targets) -> None:
    """Probes on and off for ever, whether or not they have come to be."""
    while True:
        for targets in (msgspec.structs.replace(wanted, targets=()), wanted):
            payload = msgspec.json.encode(targets)
            await capture.client.publish(subjects.targets(NODE), payload)
            await asyncio.sleep(0.1)


async def attach_and_detach(made: Build, folder: Path, times: int) -> None:
    wanted = Targets(node="here", time_ns=0, targets=(made.target(),))
    async with talking(made, folder) as talker, capturing(folder, wanted) as capture:
        await cycle(capture, wanted)
        before = descriptors(capture.process.pid)
        for _ in range(times):
            await cycle(capture, wanted)
        after = descriptors(capture.process.pid)
        assert after <= before + SPARE_DESCRIPTORS, f"{before} descriptors became {after}"
        await capture.tick()
        ledger = msgspec.json.decode(await capture.ask("ledger"), type=ServiceLedger)
        assert ledger.counters["connections_live"] <= 2 * (times + 2)
        assert talker.returncode is None, "the target has ended"


async def cycle(capture: Capture, wanted: Targets) -> None:
    for targets in (msgspec.structs.replace(wanted, targets=()), wanted):
        payload = msgspec.json.encode(targets)
        await capture.client.jetstream().publish(subjects.targets(NODE), payload)
        keys = {target.identity.key() for target in targets.targets}
        while set(msgspec.json.decode(await capture.ask("ready"))["attached"]) != keys:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def talking(made: Build, folder: Path) -> AsyncIterator[Process]:
    """A program that talks TLS with itself as fast as it can; it must end well."""
    made.compile("writing")
    certificate = truths.certificate(folder)
    process = await asyncio.create_subprocess_exec(
        str(made.folder / "writing"), "endless", str(certificate),
        cwd=folder, env=made.environment(), stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    try:
        yield process
    finally:
        process.stdin.close()
        async with asyncio.timeout(truths.SECONDS):
            await process.wait()
    assert process.returncode == 0, f"the target ended with {process.returncode}"


def probed(pid: int, target: Target) -> bool:
    return any(_byte_at(pid, target.path, s.offset) == BREAKPOINT for s in target.sites)


def _byte_at(pid: int, file: str, offset: int) -> int:
    """As the process has it in its memory: a breakpoint where it is probed."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, mode, start, *rest = line.split(maxsplit=5)
        if rest and rest[-1] == file and "x" in mode:
            low, high = (int(part, 16) for part in span.split("-"))
            address = low + offset - int(start, 16)
            if low <= address < high:
                with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
                    memory.seek(address)
                    return memory.read(1)[0]
    raise AssertionError(f"{file} is not mapped")


def descriptors(pid: int) -> int:
    """Of the service and its child."""
    return sum(len(os.listdir(f"/proc/{one}/fd")) for one in (pid, *children(pid)))


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
