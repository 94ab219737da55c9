"""Over its budget capture gives up whole connections, and counts them to the byte."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec

from services.messages import Direction, ServiceLedger
from tests.support import capturing
from tests.support.capturing import Capture, Delivered
from tests.support.tls_peer import Client, peer

CLIENTS, LATECOMERS = 4, 8


async def ledger(capture: Capture) -> ServiceLedger:
    return msgspec.json.decode(await capture.ask("ledger"), type=ServiceLedger)


def shed(delivered: Delivered, pids: list[int]) -> bool:
    """One of these processes' connections: those of the server's end are captured too."""
    closed = (delivered.closed.get(connection) for pid in pids for connection in delivered.of(pid))
    return any(c is not None and c.reason == "shed" for c in closed)


def holds(delivered: Delivered, connection: int) -> bool:
    """Both directions without a hole up to where the connection was closed, or shed."""
    closed = delivered.closed[connection]
    for direction, final in (
        (Direction.EGRESS, closed.egress),
        (Direction.INGRESS, closed.ingress),
    ):
        whole = delivered.stream(connection, direction).whole()
        if len(whole) != final.offset - final.lost.total():
            return False
    return True


async def test_whole_connections_are_shed_and_the_others_stay_whole(tmp_path: Path) -> None:
    with peer(tmp_path) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(CLIENTS)]
        async with capturing.capturing(tmp_path, pids=os.getpid(), budget_mib=1) as capture:
            pids = [client.pid for client in clients]
            await shed_some(capture, clients)
            for client in clients:
                client.ask("1000:1000")
                client.finish()
            for _ in range(LATECOMERS):
                with server.client("1000:1000"):
                    pass
            server.settle()  # a call of its own may end after its client has the answer
            delivered = await capture.tick()
            ours = [connection for pid in pids for connection in delivered.of(pid)]
            assert delivered.closed.keys() >= set(ours)
            reasons = [delivered.closed[connection].reason for connection in ours]
            assert "shed" in reasons
            assert all(holds(delivered, connection) for connection in ours)
            await adds_up(capture)
            found = await ledger(capture)
            assert found.counters["connections_shed"] >= reasons.count("shed")
            # Who is shed from the beginning is told of by its shard's totals alone.
            assert found.counters["connections"] > len(delivered.opened)


async def shed_some(capture: Capture, clients: list[Client]) -> None:
    deadline = time.monotonic() + capturing.SECONDS
    while not shed(await capture.tick(), [client.pid for client in clients]):
        assert time.monotonic() < deadline, "nothing is shed"
        for client in clients:
            client.ask("50000:50000")


async def adds_up(capture: Capture) -> None:
    """Nothing is under way any more: what the heads say is what was seen, all of it."""
    delivered = await capture.tick()
    assert delivered.seen() == delivered.delivered() + delivered.lost()
    found = await ledger(capture)
    assert found.bytes is not None
    assert found.bytes.seen == delivered.seen()
    assert found.bytes.shed == delivered.lost()
    assert found.bytes.in_flight == 0
    told = sum(head.totals.connections for head in delivered.last_heads())
    assert found.counters["connections"] == told


async def test_a_workload_beyond_its_own_rate_is_shed_alone(tmp_path: Path) -> None:
    greedy = tmp_path / "greedy"
    greedy.symlink_to("/usr/bin/python3")
    with peer(tmp_path) as server:
        async with capturing.capturing(
            tmp_path, pids=os.getpid(), workloads="greedy=normal:64"
        ) as capture:
            deadline = time.monotonic() + capturing.SECONDS
            while not (await ledger(capture)).counters["lost_shed_bytes"]:
                assert time.monotonic() < deadline, "nothing is shed"
                with server.client(program=str(greedy)) as client:
                    for _ in range(20):
                        client.ask("20000:20000")
            with server.client("1000:1000") as modest:
                pass
            server.settle()
            delivered = await capture.tick()
            assert len(delivered.of(modest.pid)) == 1
            await adds_up(capture)
