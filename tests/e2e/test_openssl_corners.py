"""Nesting, pages that are gone, files that the kernel sends, slack, and a strict seccomp filter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from services.messages import Closed, Direction, Targets
from services.records import decode_raw
from tests.support import truths
from tests.support.capturing import Capture, Delivered, capturing, until
from tests.support.tls_builds import Build, build

SECRET = b"SENTINEL-OF-ANOTHER-CONNECTION-"


def only(made: Build) -> Targets:
    return Targets(node="here", time_ns=0, targets=(made.target(),))


async def outcome(capture: Capture, made: Build, folder: Path, scenario: str) -> int:
    """The connection of a run of `corners`, which is closed by now."""
    pid, _ = await truths.run(made, folder, "corners", scenario)
    delivered = await capture.tick()
    (connection,) = delivered.of(pid)
    await until(lambda: connection in delivered.closed)
    return connection


@pytest.fixture
def pretending(tmp_path: Path) -> Build:
    made = build("pretending", tmp_path / "build")
    made.compile("corners")
    return made


async def test_nested_calls_count_once_and_peeks_not_at_all(
    tmp_path: Path, pretending: Build
) -> None:
    async with capturing(tmp_path, only(pretending)) as capture:
        connection = await outcome(capture, pretending, tmp_path, "nested")
        got = capture.delivered.stream(connection, Direction.INGRESS).whole()
        assert got == bytes(i % 256 for i in range(2 * sum(range(1, 500))))


async def test_what_lies_on_a_page_that_is_gone_is_lost_as_unreadable(
    tmp_path: Path, pretending: Build
) -> None:
    async with capturing(tmp_path, only(pretending)) as capture:
        connection = await outcome(capture, pretending, tmp_path, "unreadable")
        closed = capture.delivered.closed[connection]
        assert closed.egress.offset == 360
        assert closed.egress.lost.unreadable == closed.egress.lost.total() == 60
        pieces = capture.delivered.stream(connection, Direction.EGRESS).pieces
        assert pieces == {0: b"p" * 100, 160: b"p" * 200}


async def test_a_file_that_the_kernel_sends_is_never_silently_missing(
    tmp_path: Path, pretending: Build
) -> None:
    async with capturing(tmp_path, only(pretending)) as capture:
        connection = await outcome(capture, pretending, tmp_path, "file")
        closed: Closed = capture.delivered.closed[connection]
        assert closed.egress.offset == 2_000_000_008
        assert closed.egress.lost.sent_by_kernel == 2_000_000_000
        pieces = capture.delivered.stream(connection, Direction.EGRESS).pieces
        assert pieces == {0: b"head", 2_000_000_004: b"tail"}


async def test_nothing_but_what_its_records_say_is_ever_in_a_batch(
    tmp_path: Path, pretending: Build
) -> None:
    batches: list[bytes] = []

    async def keep(message: Msg) -> None:
        batches.append(message.data)

    async with capturing(tmp_path, only(pretending), shard_ring_kib=512) as capture:
        await capture.client.subscribe("plainwire.raw.>", cb=keep)
        pid, _ = await truths.run(pretending, tmp_path, "corners", "slack")
        delivered = await capture.tick()
        secret, _ = sorted(delivered.of(pid), key=lambda one: sent(delivered, one), reverse=True)
        records = [record for batch in batches for record in decode_raw(batch)[1]]
        told = [bytes(r.payload).count(SECRET) for r in records if r.connection == secret]
        assert sum(batch.count(SECRET) for batch in batches) == sum(told) > 1000


def sent(delivered: Delivered, connection: int) -> int:
    return delivered.stream(connection, Direction.EGRESS).delivered()


async def test_a_target_under_a_strict_seccomp_filter_survives(tmp_path: Path) -> None:
    made = build("host", tmp_path / "build")
    made.compile("sealed")
    certificate = truths.certificate(tmp_path)
    place = tmp_path / "said"
    os.mkdir(place)
    async with capturing(tmp_path, only(made)) as capture:
        pid, printed = await truths.run(made, place, "sealed", str(certificate))
        assert printed == "100\n"
        delivered = await capture.tick()
        assert truths.delivered_of(delivered, pid) == truths.said(place)
