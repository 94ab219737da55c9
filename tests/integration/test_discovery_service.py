"""The discovery service on a real bus: its first word, its answer to a sighting, its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from services import subjects
from services.discovery.system import SystemLibraries
from services.messages import ServiceLedger, Targets
from tests.support.nats_server import NatsServer

DEADLINE = 20
NODE = "a node"
LOADS_TLS = "import ssl, sys; print('loaded', flush=True); sys.stdin.read()"
_decode = msgspec.json.Decoder(Targets).decode


@contextmanager
def service(url: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PLAINWIRE_NODE": NODE, "PLAINWIRE_NATS_URL": url, **settings}
    command = [sys.executable, "-m", "services.cli.main", "discovery"]
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def program_with_tls() -> Iterator[int]:
    command = [sys.executable, "-c", LOADS_TLS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loaded\n"
        yield process.pid
        process.communicate()


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[tuple[Client, Subscription]]:
    async with asyncio.timeout(DEADLINE):
        client = await nats.connect(url)
        subscription = await client.subscribe(subjects.targets(NODE))
        await client.flush()
        yield client, subscription
        await client.close()


async def until_seen(subscription: Subscription, pid: int) -> Targets:
    while True:
        state = _decode((await subscription.next_msg(timeout=DEADLINE)).data)
        if pid in {process.pid for process in state.processes}:
            return state


async def test_the_systems_library_is_a_target_at_once(nats_server: NatsServer) -> None:
    async with listening(nats_server.url) as (_, subscription):
        with service(nats_server.url):
            state = _decode((await subscription.next_msg(timeout=DEADLINE)).data)
    assert {target.name for target in state.targets} >= set(SystemLibraries().tls_paths())
    assert state.node == NODE


async def test_a_sighting_hastens_the_next_look(nats_server: NatsServer) -> None:
    async with listening(nats_server.url) as (client, subscription):
        with service(nats_server.url, PLAINWIRE_DISCOVERY_INTERVAL="3600"):
            await subscription.next_msg(timeout=DEADLINE)
            with program_with_tls() as pid:
                await client.publish(subjects.sightings(NODE), b"{}")
                state = await until_seen(subscription, pid)
    process = next(p for p in state.processes if p.pid == pid)
    assert process.target in {target.identity.key() for target in state.targets}
    assert not process.reason


async def test_a_change_is_found_without_a_sighting(nats_server: NatsServer) -> None:
    async with listening(nats_server.url) as (_, subscription):
        with service(nats_server.url, PLAINWIRE_DISCOVERY_INTERVAL="0.1"):
            await subscription.next_msg(timeout=DEADLINE)
            with program_with_tls() as pid:
                await until_seen(subscription, pid)


async def test_it_ends_soon_and_tells_its_counters_before(nats_server: NatsServer) -> None:
    async with listening(nats_server.url) as (client, subscription):
        with service(nats_server.url) as process:
            await subscription.next_msg(timeout=DEADLINE)
            subject = f"plainwire.discovery.ledger.{subjects.token(NODE)}"
            answer = await client.request(subject, b"", timeout=DEADLINE)
            begun = time.monotonic()
            process.terminate()
            assert await asyncio.to_thread(process.wait, 5) == 0
            assert time.monotonic() - begun < 5
    counters = msgspec.json.decode(answer.data, type=ServiceLedger).counters
    assert counters["scans"] >= 1
    assert counters["targets"] >= 1
