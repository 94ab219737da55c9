"""NATS is away for a minute of real load: what fits the spool arrives whole, what does not is
counted to the byte. The short form is in tests/e2e/test_capture_losses.py."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

import nats.errors

from tests.bench import load, overload
from tests.support.capturing import Capture, Delivered, capturing, until

ANSWERS_WITHIN = 240.0  # seconds: everything that was kept is stored then
LONGER = 5.0  # seconds that the load goes on once the server is back
SPOOLS = {"bridged": 64, "overflowing": 1}  # MiB


def run(given: argparse.Namespace) -> None:
    for name, spool in SPOOLS.items():
        with tempfile.TemporaryDirectory() as folder, load.nginx(Path(folder)) as port:
            delivered = asyncio.run(away(Path(folder), port, given, spool))
        given_up = sum(head.spool_lost_bytes for head in delivered.last_heads())
        sys.stdout.write(f"{name}: {delivered.seen()} bytes seen, {given_up} given up\n")
        assert delivered.lost() == 0, "lost in the kernel"
        assert delivered.seen() == delivered.delivered() + given_up
        assert (given_up > 0) == (name == "overflowing")
        assert_no_batch_is_missing(delivered, given_up)


def assert_no_batch_is_missing(delivered: Delivered, given_up: int) -> None:
    for shard in {head.shard for head in delivered.heads.values()}:
        counters = [counter for _, of, counter in sorted(delivered.heads) if of == shard]
        missing = counters[-1] - len(counters)
        assert bool(given_up) or not missing, f"{missing} batches of shard {shard} are missing"


async def away(folder: Path, port: int, given: argparse.Namespace, spool: int) -> Delivered:
    """The load begins once the server is gone: what it had stored would go with it."""
    generate = overload.h2load(int(given.rate))
    settings = {"pids": os.getpid(), "shed": "false", "spool_mib": spool}
    async with capturing(folder, **settings) as capture:
        await capture.tick()
        capture.server.kill()
        await until(lambda: not capture.client.is_connected)
        async with asyncio.TaskGroup() as tasks:
            loading = asyncio.to_thread(generate, port, given.away + LONGER)
            tasks.create_task(loading, name="load")
            await asyncio.sleep(given.away)
            capture.server.start()
        await until_it_answers(capture)
        await capture.read_stream()
        return capture.delivered


async def until_it_answers(capture: Capture) -> None:
    async with asyncio.timeout(ANSWERS_WITHIN):
        while True:
            try:
                await capture.ask("tick")
            except (nats.errors.Error, TimeoutError):
                await asyncio.sleep(0.1)
            else:
                return
