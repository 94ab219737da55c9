"""Capture against real TLS programs: bytes, offsets, owners. Losses: test_capture_losses.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from services.messages import Direction
from tests.support import capturing, tls_peer
from tests.support.capturing import Delivered, until
from tests.support.tls_peer import SECONDS, peer

MIB = 1 << 20


def owner_s(delivered: Delivered, connection: int) -> tuple[bytes, bytes]:
    """What the connection's owner sent and received."""
    return (
        delivered.stream(connection, Direction.EGRESS).whole(),
        delivered.stream(connection, Direction.INGRESS).whole(),
    )


async def test_both_ends_are_captured_byte_for_byte(tmp_path: Path) -> None:
    with peer(tmp_path) as server:
        async with capturing.capturing(tmp_path) as capture:
            with server.client("0:1", "1:0", "17:16384", "16385:100000", "100000:1") as client:
                pass
            delivered = await capture.tick()
            (kept,) = server.conversations
            (connection,) = delivered.of(client.pid)
            assert owner_s(delivered, connection) == (kept.received, kept.sent)
            (other_end,) = delivered.of(os.getpid())
            assert owner_s(delivered, other_end) == (kept.sent, kept.received)
            assert delivered.unannounced == 0
            assert delivered.lost() == 0
            assert delivered.seen() == delivered.delivered()


async def test_a_connection_says_whose_it_is_and_how_far_it_got(tmp_path: Path) -> None:
    with peer(tmp_path) as server:
        async with capturing.capturing(tmp_path) as capture:
            with server.client("5:7") as client:
                pass
            delivered = await capture.tick()
            (connection,) = delivered.of(client.pid)
            await until(lambda: connection in delivered.closed)
            opened, closed = delivered.opened[connection], delivered.closed[connection]
            assert opened.source.process == Path(sys.executable).name
            assert opened.source.tls.startswith("openssl")
            assert not opened.mid_connection
            assert (closed.egress.offset, closed.ingress.offset) == (9, 7)
            assert closed.egress.lost.total() == closed.ingress.lost.total() == 0


async def test_curl_is_caught_from_its_first_byte(tmp_path: Path) -> None:
    with peer(tmp_path) as server:
        async with capturing.capturing(tmp_path) as capture:
            url = f"https://127.0.0.1:{server.port}/first"
            command = ["curl", "-sk", "--max-time", "1", url]
            with subprocess.Popen(command) as curl:  # noqa: ASYNC220
                pass
            delivered = await capture.tick()
            (connection,) = delivered.of(curl.pid)
            sent, _ = owner_s(delivered, connection)
            assert sent.startswith(b"GET /first HTTP/")
            assert delivered.opened[connection].source.process == "curl"


async def test_a_transfer_of_ten_mebibytes_arrives_whole(tmp_path: Path) -> None:
    with peer(tmp_path) as server, server.client() as client:
        async with capturing.capturing(tmp_path, pids=client.pid) as capture:
            client.ask(f"{10 * MIB}:{3 * MIB}")
            delivered = await capture.tick()
            (connection,) = delivered.of(client.pid)
            (kept,) = server.conversations
            assert owner_s(delivered, connection) == (kept.received, kept.sent)
            assert delivered.lost() == 0
            assert delivered.seen() == 13 * MIB + len(f"{10 * MIB} {3 * MIB}\n")


async def test_a_connection_from_before_the_probes_is_marked(tmp_path: Path) -> None:
    with peer(tmp_path) as server, server.client("3:4") as client:
        async with capturing.capturing(tmp_path) as capture:
            client.ask("10:20")
            delivered = await capture.tick()
            (connection,) = delivered.of(client.pid)
            assert delivered.opened[connection].mid_connection
            sent, received = owner_s(delivered, connection)
            assert (sent, received) == (b"10 20\nclient-cli", (b"server-" * 3)[:20])


async def test_only_the_named_process_and_its_children_are_captured(tmp_path: Path) -> None:
    program = [sys.executable, "-c", tls_peer.CLIENT]
    script = 'read go; "$@" </dev/null; "$@" </dev/null & wait $!'
    with (
        peer(tmp_path) as server,
        server.client() as existing,
        subprocess.Popen(  # noqa: ASYNC220
            ["sh", "-c", script, "sh", *program, str(server.port), "1:1"], stdin=subprocess.PIPE
        ) as shell,
    ):
        async with capturing.capturing(tmp_path, pids=shell.pid) as capture:
            existing.ask("2:2")
            with server.client("2:2") as other:
                shell.communicate(b"go\n", timeout=SECONDS)
            delivered = await capture.tick()
            owners = {one.source.pid for one in delivered.opened.values()}
            assert len(owners) == 2
            assert not owners & {other.pid, existing.pid, os.getpid()}
            for connection in delivered.opened:
                assert owner_s(delivered, connection)[0] == b"1 1\nc"
            assert delivered.seen() == delivered.delivered()
