"""What an operator sees with the real NATS CLI: the services, their sums, witnesses on a tap.

Skipped where Go can't build the CLI.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nats
import pytest

from services import records, subjects
from services.messages import RawHead, ShardTotals
from tests.support import nats_cli
from tests.support.nats_server import NatsServer
from tests.support.pipeline import NODE, Pipeline
from tests.support.workload import ROOT

Nats = Callable[..., str]


@pytest.fixture(scope="module")
def binary() -> Path:
    found = nats_cli.executable()
    if found is None:
        pytest.skip("no Go toolchain that can build the NATS CLI")
    return found


@pytest.fixture
def nats_command(binary: Path, nats_server: NatsServer) -> Nats:
    def run(*arguments: str) -> str:
        command = [str(binary), "--server", nats_server.url, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout

    return run


@pytest.fixture
def parse(tmp_path: Path, nats_server: NatsServer) -> Iterator[Pipeline]:
    running = Pipeline(tmp_path, nats_server, {"PLAINWIRE_SHARDS": "2"})
    running.start("parse")
    try:
        running.wait_answering("parse")
        yield running
    finally:
        running.stop()


def test_it_lists_the_services_and_tells_about_them(parse: Pipeline, nats_command: Nats) -> None:
    assert "plainwire-parse" in nats_command("micro", "ls")
    assert f'"node": "{NODE}"' in nats_command("micro", "info", "plainwire-parse", "--json")


def test_its_statistics_hold_the_ledger(parse: Pipeline, nats_command: Nats) -> None:
    answer = nats_command("micro", "stats", "plainwire-parse", "--json")
    assert '"batches_malformed"' in answer


def test_frames_are_translated_from_their_bytes_alone(
    parse: Pipeline, nats_command: Nats, nats_server: NatsServer
) -> None:
    head = RawHead(
        node=NODE, epoch=1, shard=0, counter=1, lowest_held=1, boot_ns=1, anchor_ns=1,
        totals=ShardTotals(),
    )  # fmt: skip
    asyncio.run(_publish(nats_server.url, records.encode_raw(head, [])))
    parse.wait_position("parse", 1)
    decode = f"{sys.executable} {ROOT / 'services' / 'cli' / 'main.py'} decode"
    shown = nats_command(
        "sub", "--stream", subjects.FRAMES, "--all", "--count", "1", "--translate", decode,
        "plainwire.frames.>",
    )  # fmt: skip
    assert f"tick node={NODE}" in shown


async def _publish(url: str, payload: bytes) -> None:
    client = await nats.connect(url)
    await client.jetstream().publish(subjects.raw(0, NODE), payload)
    await client.close()
