"""What can't be kept is counted exactly, and what ends is told to its last byte."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nats.errors import NoRespondersError

from services.messages import Direction
from tests.support import capturing
from tests.support.capturing import Capture, Delivered, until
from tests.support.tls_peer import Conversation, peer


def missing(delivered: Delivered, connection: int) -> tuple[int, int]:
    """Bytes below the final offsets that were not delivered: egress, ingress."""
    closed = delivered.closed[connection]
    sent = delivered.stream(connection, Direction.EGRESS).delivered()
    received = delivered.stream(connection, Direction.INGRESS).delivered()
    return closed.egress.offset - sent, closed.ingress.offset - received


def is_true(delivered: Delivered, connection: int, kept: Conversation) -> bool:
    """Every delivered byte is the one that went over the connection at that offset."""
    truths = {Direction.EGRESS: kept.received, Direction.INGRESS: kept.sent}
    return all(
        truth[offset : offset + len(piece)] == piece
        for direction, truth in truths.items()
        for offset, piece in delivered.stream(connection, direction).pieces.items()
    )


async def test_rings_that_are_too_small_lose_bytes_that_are_all_counted(tmp_path: Path) -> None:
    with peer(tmp_path) as server, server.client() as client:
        small = {"shard_ring_kib": 8, "spare_ring_kib": 8, "pids": client.pid}
        async with capturing.capturing(tmp_path, **small) as capture:
            for size in [5000] * 60 + [100_000]:
                client.ask(f"{size}:{size}")
            client.finish()
            delivered = await capture.tick()
            (connection,) = delivered.of(client.pid)
            await until(lambda: connection in delivered.closed)
            delivered = await capture.tick()
            closed = delivered.closed[connection]
            assert delivered.lost() > 0
            assert delivered.seen() == delivered.delivered() + delivered.lost()
            lost = (closed.egress.lost.total(), closed.ingress.lost.total())
            assert missing(delivered, connection) == lost
            (kept,) = server.conversations
            assert closed.egress.offset == len(kept.received)
            assert closed.ingress.offset == len(kept.sent)
            assert is_true(delivered, connection, kept)


async def test_a_lost_tail_is_told_while_the_connection_lives(tmp_path: Path) -> None:
    with peer(tmp_path) as server, server.client() as client:
        small = {"shard_ring_kib": 4, "spare_ring_kib": 4, "pids": client.pid}
        async with capturing.capturing(tmp_path, **small) as capture:
            client.ask("100:8000")
            client.ask("200000:1")
            delivered = await capture.tick()
            (connection,) = delivered.of(client.pid)
            last = {tail.direction: tail.final for tail in delivered.tails}[Direction.EGRESS]
            got = delivered.stream(connection, Direction.EGRESS).delivered()
            (kept,) = server.conversations
            assert last.offset == len(kept.received)
            assert last.lost.total() == last.offset - got > 0


async def test_a_killed_process_closes_its_connections(tmp_path: Path) -> None:
    with peer(tmp_path) as server:
        async with capturing.capturing(tmp_path) as capture:
            with server.client("11:13") as client:
                client.process.kill()
            delivered = await capture.tick()
            (connection,) = delivered.of(client.pid)
            await until(lambda: connection in delivered.closed)
            closed = delivered.closed[connection]
            assert closed.reason == "exited"
            assert (closed.egress.offset, closed.ingress.offset) == (17, 13)
            assert missing(delivered, connection) == (0, 0)


async def test_sigterm_ends_it_soon_with_a_last_word_to_every_shard(tmp_path: Path) -> None:
    with peer(tmp_path) as server:
        async with capturing.capturing(tmp_path) as capture:
            with server.client("11:13") as client:
                assert await capture.terminate() < 5
                delivered = capture.delivered
                await until(lambda: sum(head.final for head in delivered.last_heads()) == 16)
                assert delivered.seen() == delivered.delivered() > 0
                client.ask("1:1")


async def test_an_outage_of_the_bus_is_bridged(tmp_path: Path) -> None:
    with peer(tmp_path) as server, server.client() as client:
        async with capturing.capturing(tmp_path, pids=client.pid) as capture:
            client.ask("1000:1000")
            await capture.tick()
            capture.server.kill()
            await until(lambda: not capture.client.is_connected)
            for _ in range(20):
                client.ask("5000:50000")
                await asyncio.sleep(0.05)
            capture.server.start()
            await until(lambda: capture.client.is_connected)
            await until_it_answers(capture)
            await capture.read_stream()
            delivered = capture.delivered
            (connection,) = delivered.of(client.pid)
            (kept,) = server.conversations
            assert delivered.stream(connection, Direction.EGRESS).whole() == kept.received
            assert delivered.stream(connection, Direction.INGRESS).whole() == kept.sent
            for shard in {head.shard for head in delivered.heads.values()}:
                counters = [counter for _, of, counter in sorted(delivered.heads) if of == shard]
                assert counters == list(range(1, len(counters) + 1))


async def test_what_the_spool_gives_up_is_counted_to_the_byte(tmp_path: Path) -> None:
    with peer(tmp_path) as server, server.client() as client:
        async with capturing.capturing(tmp_path, pids=client.pid, spool_mib=1) as capture:
            client.ask("1000:1000")
            await capture.tick()
            capture.server.kill()
            await until(lambda: not capture.client.is_connected)
            for _ in range(40):
                client.ask("50000:50000")
                await asyncio.sleep(0.03)
            capture.server.start()
            await until(lambda: capture.client.is_connected)
            await until_it_answers(capture)
            await capture.read_stream()
            delivered = capture.delivered
            given_up = sum(head.spool_lost_bytes for head in delivered.last_heads())
            assert 2_000_000 < given_up < delivered.seen()
            assert delivered.seen() == delivered.delivered() + delivered.lost() + given_up
            (connection,) = delivered.of(client.pid)
            (kept,) = server.conversations
            assert is_true(delivered, connection, kept)
            for head in delivered.heads.values():
                assert head.lowest_held <= head.counter


async def until_it_answers(capture: Capture) -> None:
    """Capture is on the bus again, and everything it had kept is stored."""
    deadline = asyncio.get_running_loop().time() + capturing.SECONDS
    while True:
        try:
            await capture.ask("tick")
        except (NoRespondersError, TimeoutError):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
        else:
            return
