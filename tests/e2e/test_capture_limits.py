"""What the kernel's part turns away or has no room for is counted, and room is made again."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from services.messages import ServiceLedger
from tests.support import capturing
from tests.support.capturing import Capture
from tests.support.tls_peer import Client, Peer, peer

CONNECTIONS = 64
# TLS objects that nobody frees: the process ends without a word.
UNFREED = """
import os, ssl
context = ssl.create_default_context()
made = [context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO()) for _ in range(200)]
os._exit(0)
"""


async def counters(capture: Capture) -> dict[str, int]:
    return msgspec.json.decode(await capture.ask("ledger"), type=ServiceLedger).counters


async def test_what_is_turned_away_is_counted(tmp_path: Path) -> None:
    with peer(tmp_path) as server, server.client() as excluded:
        async with capturing.capturing(
            tmp_path, pids=os.getpid(), exclude_pids=excluded.pid, connections=CONNECTIONS
        ) as capture:
            await filtered_calls_are_counted(capture, excluded)
            await room_is_made_for_new_objects(capture, server)


async def filtered_calls_are_counted(capture: Capture, excluded: Client) -> None:
    before = (await counters(capture))["calls_filtered"]
    excluded.ask("1000:1000")
    after = (await counters(capture))["calls_filtered"]
    assert after - before >= 3  # two writes, a read
    delivered = await capture.tick()
    assert not delivered.of(excluded.pid)


async def room_is_made_for_new_objects(capture: Capture, server: Peer) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", UNFREED)
    assert await process.wait() == 0
    assert (await counters(capture))["births_refused"] >= 200 - CONNECTIONS
    await capture.tick()  # looks for what ended
    refused = (await counters(capture))["births_refused"]
    with server.client() as late:
        late.ask("10:10")
        assert (await counters(capture))["births_refused"] == refused
        delivered = await capture.tick()
        (connection,) = delivered.of(late.pid)
        assert not delivered.opened[connection].mid_connection
