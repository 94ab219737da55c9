"""The process that holds the probes hangs, dies, and dies again; capture lives on and says so."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec

from services import subjects
from services.messages import Coverage, ServiceLedger
from tests.support import capturing
from tests.support.capturing import NODE, Capture, until
from tests.support.tls_peer import peer


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


async def ledger(capture: Capture) -> ServiceLedger:
    return msgspec.json.decode(await capture.ask("ledger"), type=ServiceLedger)


async def when(capture: Capture, reached: str, value: int) -> ServiceLedger:
    """Once this counter is at least so large."""
    deadline = time.monotonic() + capturing.START_SECONDS  # a new child has to compile, too
    while (found := await ledger(capture)).counters[reached] < value:
        assert time.monotonic() < deadline, f"{reached} stays below {value}"
    return found


async def test_the_canary_is_seen_and_is_in_no_sum(tmp_path: Path) -> None:
    async with capturing.capturing(tmp_path, pids=os.getpid()) as capture:
        found = await when(capture, "canary_seen", 2)
        assert found.counters["seen_bytes"] == found.counters["connections"] == 0
        assert found.bytes is not None
        assert found.bytes.seen == 0
        delivered = await capture.tick()
        assert not delivered.streams
        assert not delivered.opened


async def test_a_child_that_is_killed_is_started_again_in_a_new_epoch(tmp_path: Path) -> None:
    with peer(tmp_path) as server:
        async with capturing.capturing(tmp_path) as capture:
            with server.client("100:100"):
                pass
            await capture.tick()
            (child,) = children(capture.process.pid)
            os.kill(child, signal.SIGKILL)
            await when(capture, "restarts", 1)
            await when(capture, "attached", 1)
            with server.client("100:100") as client:
                pass
            delivered = await capture.tick()
            assert len({head.epoch for head in delivered.heads.values()}) == 2
            assert len(delivered.of(client.pid)) == 1
            last = max(delivered.heads)
            assert {shard for epoch, shard, _ in delivered.heads if epoch == last[0]} == set(
                range(16)
            )
            found = (await ledger(capture)).bytes
            assert found is not None
            assert found.seen == found.parsed + sum(found.gaps.values()) + found.in_flight
            assert found.in_flight == 0


async def test_a_child_that_hangs_is_found_within_seconds(tmp_path: Path) -> None:
    async with capturing.capturing(tmp_path, silence_seconds=1) as capture:
        (child,) = children(capture.process.pid)
        os.kill(child, signal.SIGSTOP)
        begun = time.monotonic()
        found = await when(capture, "hangs", 1)
        assert time.monotonic() - begun < 5
        assert found.counters["restarts"] == 1
        await until(lambda: not Path(f"/proc/{child}").exists())
        await when(capture, "attached", 1)


async def test_a_node_whose_child_keeps_failing_is_marked_degraded(tmp_path: Path) -> None:
    async with capturing.capturing(tmp_path, restarts=2, breaker_seconds=60) as capture:
        for failure in (1, 2):
            (child,) = children(capture.process.pid)
            os.kill(child, signal.SIGKILL)
            await when(capture, "restarts", failure)
            if failure == 1:
                await until(lambda: len(children(capture.process.pid)) == 1)
        js = capture.client.jetstream()
        deadline = time.monotonic() + capturing.SECONDS
        while True:
            last = await js.get_last_msg(subjects.COVERAGE, subjects.coverage(NODE))
            told = msgspec.json.decode(last.data or b"", type=Coverage)
            if "2 times in a row" in told.degraded:
                break
            assert time.monotonic() < deadline
        assert not told.attached


async def test_nothing_of_it_is_left_after_kill_9(tmp_path: Path) -> None:
    async with capturing.capturing(tmp_path) as capture:
        (child,) = children(capture.process.pid)
        capture.kill()
        await until(lambda: not Path(f"/proc/{child}").exists())
