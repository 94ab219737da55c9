"""Programs with Go's own TLS: what they wrote down themselves against what was captured.

Oldest and newest Go, and one between; stripped, position-independent, linked by gcc; many
goroutines, stacks that move within a call, results that come with an error, connections that nobody
closes. HTTP is in test_go_http.py.
"""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from services import procfs
from services.discovery import inventory
from services.discovery.files import Files
from services.discovery.processes import standing
from services.messages import Direction, Opened, Targets
from tests.soak import harmless
from tests.support import go_builds, truths
from tests.support.capturing import Capture, Delivered, capturing, until
from tests.support.go_builds import BUILDS, NEWEST, OLDEST, TRUTH, Build

SCENARIOS = ("talk", "move", "large", "ending", "cut", "drop", "nest")
PRINTED = {"ending": "with an error: 31\n", "cut": "cut short: true\n"}
CLOSED = {"talk", "move", "large", "ending"}  # by both ends
ROUNDS = 10


def targets(*programs: Path) -> Targets:
    return inventory.targets("here", 0, standing(Files(), map(str, programs)), ())


@asynccontextmanager
async def running(build: Build, folder: Path, scenario: str) -> AsyncIterator[Process]:
    """It must end well."""
    place = truths.folder(folder, f"{build.name}-{scenario}")
    process = await asyncio.create_subprocess_exec(
        str(go_builds.built(TRUTH, build)), str(folder / "both.pem"), scenario,
        cwd=place, stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        async with asyncio.timeout(truths.SECONDS):
            await process.wait()
    assert process.returncode == 0, f"{place.name} ended with {process.returncode}"


async def begins(process: Process) -> None:
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"


def told(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")


def said(folder: Path, build: Build, scenario: str) -> list[truths.Said]:
    return [one for one in truths.said(folder / f"{build.name}-{scenario}") if any(one)]


async def test_capture_has_what_the_programs_say(tmp_path: Path) -> None:
    truths.certificate(tmp_path)
    wanted = targets(*(go_builds.built(TRUTH, build) for build in BUILDS))
    versions = {target.library for target in wanted.targets}
    assert versions == {f"go crypto/tls go{v}" for v in ("1.19.8", "1.21.13", "1.27.3")}
    # Here no byte may depend on how busy the machine is.
    async with capturing(tmp_path, wanted, ring_mib=256, shed="false") as capture:
        for build in BUILDS:
            for scenario in SCENARIOS:
                await check(capture, build, tmp_path, scenario)
        assert capture.delivered.lost() == capture.delivered.unannounced == 0
        assert capture.delivered.seen() == capture.delivered.delivered()


async def check(capture: Capture, build: Build, folder: Path, scenario: str) -> None:
    name = f"{build.name} {scenario}"
    async with running(build, folder, scenario) as process:
        told(process)
        assert process.stdout is not None
        assert (await process.stdout.read()).decode() == PRINTED.get(scenario, "")
    delivered = await capture.tick()
    same = truths.delivered_of(delivered, process.pid) == said(folder, build, scenario)
    assert same, f"{name}: {delivered.lost()} bytes lost"

    opened = [delivered.opened[one] for one in delivered.of(process.pid)]
    assert not any(one.mid_connection for one in opened), name
    await until(lambda: all(one.connection in delivered.closed for one in opened))
    reasons = {delivered.closed[one.connection].reason for one in opened}
    assert reasons == {"freed"} if scenario in CLOSED else reasons <= {"freed", "reused", "exited"}
    check_addresses(opened, 2 if scenario == "nest" else len(opened))


def check_addresses(opened: list[Opened], known: int) -> None:
    """Both ends of each connection are this process's: they have each other's addresses. TLS within
    TLS has none of its own."""
    ends = [(one.local, one.peer) for one in opened if one.local and one.peer]
    assert sorted(ends) == sorted((peer, local) for local, peer in ends)
    assert len(set(ends)) == len(ends) == known


async def test_a_read_that_began_before_the_probes_is_seen_to_end(tmp_path: Path) -> None:
    truths.certificate(tmp_path)
    both = (OLDEST, NEWEST)
    async with AsyncExitStack() as stack:
        running_ = [running(build, tmp_path, "midway") for build in both]
        processes = [await stack.enter_async_context(one) for one in running_]
        for process in processes:
            await begins(process)
        wanted = targets(*(go_builds.built(TRUTH, build) for build in both))
        async with capturing(tmp_path, wanted, shed="false") as capture:
            for build, process in zip(both, processes, strict=True):
                told(process)
                await process.wait()
                delivered = await capture.tick()
                opened = [delivered.opened[one] for one in delivered.of(process.pid)]
                assert [one.mid_connection for one in opened] == [True, True]
                spoken = said(tmp_path, build, "midway")
                assert truths.delivered_of(delivered, process.pid) == spoken
                check_addresses(opened, 2)


async def test_a_loaded_program_lives_through_probes_that_come_and_go(tmp_path: Path) -> None:
    truths.certificate(tmp_path)
    both = (OLDEST, NEWEST)
    wanted = targets(*(go_builds.built(TRUTH, build) for build in both))
    async with AsyncExitStack() as stack:
        running_ = [running(build, tmp_path, "endless") for build in both]
        processes = [await stack.enter_async_context(one) for one in running_]
        for process in processes:
            await begins(process)
        probed = [
            (process.pid, target)
            for process in processes
            for target in wanted.targets
            if target.path == procfs.link(procfs.executable(process.pid))
        ]
        async with capturing(tmp_path, wanted) as capture:
            for _ in range(ROUNDS):
                await harmless.cycle(capture, wanted)
            assert all(harmless.probed(pid, target) for pid, target in probed)
            delivered = await capture.tick()
            for pid, _ in probed:
                heard = [speakers(delivered, one) for one in delivered.of(pid)]
                assert len(heard) > 0
                assert all(len(who) <= 1 for who in heard)
            capture.kill()
            await until(lambda: not any(harmless.probed(pid, target) for pid, target in probed))
        assert [process.returncode for process in processes] == [None, None]


def speakers(delivered: Delivered, connection: int) -> set[bytes]:
    """Each connection carries one line, with its number, again and again."""
    streams = [delivered.stream(connection, direction) for direction in Direction]
    pieces = [piece for stream in streams for piece in stream.pieces.values()]
    return {number for piece in pieces for number in re.findall(rb"(?:^|; )(\d+) and more", piece)}
