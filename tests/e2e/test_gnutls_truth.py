"""What a C program did with GnuTLS, byte for byte as it logged it itself: partial transfers and
calls made again, corked sessions, padded ranges, files, early data; and what can't be had, counted.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.discovery.code.probing import Returns
from services.messages import Direction, Targets
from tests.support import truths
from tests.support.capturing import Capture, Delivered, capturing, until
from tests.support.tls_builds import Build, build

WHOLE = ("usual", "corked", "ranges", "file", "early")


def only(made: Build, uretprobes: Returns = Returns.STILL) -> Targets:
    return Targets(node="here", time_ns=0, targets=(made.target(uretprobes),))


@pytest.fixture
def made(tmp_path: Path) -> Build:
    found = build("gnutls", tmp_path / "build")
    found.compile("sessions")
    truths.certificate(tmp_path)
    return found


async def after(
    capture: Capture, made: Build, folder: Path, scenario: str
) -> tuple[int, str, Delivered]:
    """The pid of a run, what it printed, and what was captured, all connections closed."""
    place = folder / scenario
    os.mkdir(place)
    certificate = str(folder / "both.pem")
    pid, printed = await truths.run(made, place, "sessions", scenario, certificate)
    delivered = await capture.tick()
    await until(lambda: all(one in delivered.closed for one in delivered.of(pid)))
    return pid, printed, delivered


@pytest.mark.parametrize("uretprobes", list(Returns), ids=[one.value for one in Returns])
async def test_capture_has_what_the_program_says(
    tmp_path: Path, made: Build, uretprobes: Returns
) -> None:
    async with capturing(tmp_path, only(made, uretprobes), ring_mib=256) as capture:
        for scenario in WHOLE:
            pid, _, delivered = await after(capture, made, tmp_path, scenario)
            same = truths.delivered_of(delivered, pid) == truths.said(tmp_path / scenario)
            assert same, f"{scenario}: {delivered.lost()} bytes lost"
            opened = [delivered.opened[connection] for connection in delivered.of(pid)]
            assert not any(one.mid_connection for one in opened)
            assert {delivered.closed[one.connection].reason for one in opened} == {"freed"}
        assert delivered.lost() == delivered.unannounced == 0
        assert delivered.seen() == delivered.delivered()


async def test_packets_that_only_the_library_has_are_counted_and_lost(
    tmp_path: Path, made: Build
) -> None:
    async with capturing(tmp_path, only(made)) as capture:
        pid, _, delivered = await after(capture, made, tmp_path, "packets")
        sender, receiver = sorted(
            delivered.of(pid), key=lambda one: delivered.closed[one].ingress.offset
        )
        sent = delivered.stream(sender, Direction.EGRESS).whole()
        assert sent == (tmp_path / "packets" / "client1.sent").read_bytes()
        got = delivered.closed[receiver].ingress
        assert got.offset == got.lost.unreadable == got.lost.total() == len(sent) == 50_000


async def test_a_call_that_is_made_again_without_its_words_is_counted_once(
    tmp_path: Path, made: Build
) -> None:
    """Where those words were by then only the library knows."""
    async with capturing(tmp_path, only(made)) as capture:
        pid, printed, delivered = await after(capture, made, tmp_path, "again")
        sender, receiver = sorted(
            delivered.of(pid), key=lambda one: delivered.closed[one].ingress.offset
        )
        told, kept = delivered.closed[sender].egress, int(printed)
        assert 0 < kept == told.lost.unreadable == told.lost.total()
        pieces = delivered.stream(sender, Direction.EGRESS).pieces
        truth = (tmp_path / "again" / "client1.sent").read_bytes()
        assert told.offset == len(truth)
        assert all(truth[at : at + len(piece)] == piece for at, piece in pieces.items())
        assert delivered.stream(receiver, Direction.INGRESS).whole() == truth
