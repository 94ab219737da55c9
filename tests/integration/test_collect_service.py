"""Collect as a process on a real nats-server: frames in, witnesses in the stream, sums on request.

Frames are written here as parse would; no other service runs.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import nats
import nats.errors
import pytest
from nats.aio.client import Client

from services import records, subjects
from services.messages import AnyFrame, FrameBatch, ServiceLedger, Witness
from tests.support import otlp
from tests.support.nats_server import NatsServer
from tests.support.workload import ROOT
from tests.unit.collect.transcript import (
    NODE,
    SECOND,
    batch,
    body,
    closed,
    end,
    opened,
    request,
    response,
    response_head,
    tick,
)

DEADLINE = 20
SHARDS = 2
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collect:
    """The process, and what it may be asked."""

    def __init__(self, client: Client, process: subprocess.Popen[bytes]) -> None:
        self.client = client
        self.process = process

    async def tell(self, frames: FrameBatch) -> None:
        await self.tell_bytes(
            records.encode_frames(frames), f"{frames.origin}/{frames.piece}", frames.shard
        )

    async def tell_bytes(self, payload: bytes, message_id: str, shard: int = 0) -> None:
        await self.client.jetstream().publish(
            subjects.frames(shard), payload, headers={"Nats-Msg-Id": message_id}
        )

    async def ledger(self) -> ServiceLedger:
        subject = f"plainwire.collect.ledger.{subjects.token(NODE)}"
        answer = await self.client.request(subject, timeout=5)
        return msgspec.json.decode(answer.data, type=ServiceLedger)

    async def until(self, reached: Callable[[ServiceLedger], bool]) -> ServiceLedger:
        async with asyncio.timeout(DEADLINE):
            while True:
                assert self.process.poll() is None, "collect has ended"
                try:
                    ledger = await self.ledger()
                    if reached(ledger):
                        return ledger
                except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                    pass  # not yet registered
                await asyncio.sleep(0.02)

    async def folded(self, counter: int) -> ServiceLedger:
        return await self.until(lambda found: any(p.counter >= counter for p in found.positions))

    async def stored(self) -> list[tuple[str, Witness]]:
        """Every message of WITNESSES, in order."""
        stream = self.client.jetstream()
        last = (await stream.stream_info(subjects.WITNESSES)).state.messages
        found = [await stream.get_msg(subjects.WITNESSES, n + 1) for n in range(last)]
        return [(m.subject or "", msgspec.json.decode(m.data or b"", type=Witness)) for m in found]

    def stop(self) -> float:
        """SIGTERM; the seconds until it has ended."""
        begin = time.monotonic()
        self.process.terminate()
        self.process.wait(DEADLINE)
        return time.monotonic() - begin


@contextmanager
def process(url: str, log: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PLAINWIRE_", "OTEL_"))}
    environ |= {"PLAINWIRE_NATS_URL": url, "PLAINWIRE_NODE": NODE, "PLAINWIRE_SHARDS": str(SHARDS)}
    with log.open("ab") as out:
        started = subprocess.Popen(
            [sys.executable, "-m", "services.cli.main", "collect"],
            cwd=ROOT,
            env=environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@asynccontextmanager
async def collecting(server: NatsServer, folder: Path, **settings: str) -> AsyncIterator[Collect]:
    with process(server.url, folder / "collect.log", **settings) as started:
        client = await nats.connect(server.url)
        try:
            collect = Collect(client, started)
            await collect.until(lambda _: True)
            yield collect
        finally:
            await client.close()


def exchange(stream: int) -> list[AnyFrame]:
    return [*request(stream, b"asked"), *response(stream, b"answered")]


async def test_frames_become_witnesses_in_the_stream(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with collecting(nats_server, tmp_path) as collect:
        await collect.tell(batch(1, opened(), *exchange(1), *request(2), tick(counter=1)))
        await collect.tell(batch(2, *response(2), *request(3), closed(), tick(counter=2)))
        ledger = await collect.folded(2)
        stored = await collect.stored()

    assert [w.state for _, w in stored] == ["complete", "complete", "no_response"]
    assert {subject for subject, _ in stored} == {"plainwire.store.witnesses.shop.cart"}
    exchanges = ledger.exchanges
    assert exchanges is not None
    assert (exchanges.begun, exchanges.complete, exchanges.open) == (3, 2, 0)
    assert exchanges.partial == {"no_response": 1}


async def test_a_live_tap_sees_what_is_stored(nats_server: NatsServer, tmp_path: Path) -> None:
    async with collecting(nats_server, tmp_path) as collect:
        tap = await collect.client.subscribe(subjects.witnesses())
        await collect.tell(batch(1, opened(), *exchange(1)))
        message = await tap.next_msg(DEADLINE)
    assert message.subject == "plainwire.witnesses.shop.cart"
    assert msgspec.json.decode(message.data, type=Witness).state == "complete"


async def test_a_collect_that_is_killed_and_reads_again_stores_nothing_twice(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with collecting(nats_server, tmp_path) as collect:
        await collect.tell(batch(1, opened(), *exchange(1), *request(2), tick(counter=1)))
        await collect.folded(1)
    async with collecting(nats_server, tmp_path) as collect:
        await collect.tell(batch(2, *response(2), tick(counter=2)))
        ledger = await collect.folded(2)
        stored = await collect.stored()
    assert [w.connection.stream for _, w in stored] == [1, 2]
    assert ledger.counters["bus_duplicates"] == 1


async def test_a_stream_is_stored_in_parts_each_once_though_collect_is_killed_between(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    head = response_head(headers=(("content-type", "text/event-stream"),))
    begun = [opened(), *request(), head, body(b"data: 1\n\n")]
    async with collecting(nats_server, tmp_path) as collect:
        tap = await collect.client.subscribe(subjects.witnesses())
        await collect.tell(batch(1, *begun, tick(6 * SECOND, counter=1)))
        live = await tap.next_msg(DEADLINE)
        await collect.folded(1)
    async with collecting(nats_server, tmp_path) as collect:
        await collect.tell(batch(2, body(b"data: 2\n\n", offset=9), tick(12 * SECOND, counter=2)))
        await collect.folded(2)
    async with collecting(nats_server, tmp_path) as collect:
        await collect.tell(batch(3, end("response", 18), tick(13 * SECOND, counter=3)))
        ledger = await collect.folded(3)
        stored = [w for _, w in await collect.stored()]

    assert msgspec.json.decode(live.data, type=Witness).state == "open"
    assert [(w.part, w.final, w.state) for w in stored] == [
        (1, False, "open"),
        (2, False, "open"),
        (3, True, "complete"),
    ]
    assert len({w.id for w in stored}) == 1
    shown = [w.response.body.text for w in stored if w.response]
    assert shown == ["data: 1\n\n", "data: 2\n\n", None]
    assert ledger.exchanges is not None
    assert (ledger.exchanges.begun, ledger.exchanges.complete) == (1, 1)


async def test_malformed_bytes_are_counted_and_survived(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with collecting(nats_server, tmp_path) as collect:
        for number, payload in enumerate((b"", b"nonsense", b"PW\x02\x01\xc1")):
            await collect.tell_bytes(payload, f"malformed/{number}")
        await collect.tell(batch(1, opened(), *exchange(1), tick(counter=1)))
        ledger = await collect.folded(1)
        assert len(await collect.stored()) == 1
    assert ledger.counters["batches_malformed"] == 3


async def test_a_witness_too_large_for_the_bus_is_stored_with_less_body(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    large = b"\x00" * (400 * 1024)  # six characters of JSON each
    async with collecting(nats_server, tmp_path, PLAINWIRE_COLLECT_BODY_KIB="512") as collect:
        await collect.tell(batch(1, opened(), *request(1), *response(1, large), tick(counter=1)))
        await collect.folded(1)
        ((_, witness),) = await collect.stored()
    assert witness.response is not None
    shown = witness.response.body
    assert (shown.size, shown.truncated_by) == (len(large), "cap")
    assert 100_000 < shown.captured < len(large)


# Nobody listens at this endpoint.
DEAF = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize("settings", [{}, DEAF], ids=["no telemetry", "deaf telemetry"])
async def test_sigterm_ends_it_at_once(
    settings: dict[str, str], nats_server: NatsServer, tmp_path: Path
) -> None:
    async with collecting(nats_server, tmp_path, **settings) as collect:
        await collect.tell(batch(1, opened(), *exchange(1), tick(counter=1)))
        await collect.folded(1)
        assert await asyncio.to_thread(collect.stop) < 5
        assert collect.process.returncode == 0
    assert "Traceback" not in (tmp_path / "collect.log").read_text()


async def test_a_witness_is_a_span_in_the_applications_trace(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    traced = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
    unsampled = (("traceparent", f"00-{TRACE}-{PARENT}-00"),)
    with otlp.receiving() as receiver:
        async with collecting(
            nats_server, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint
        ) as collect:
            frames = [
                *(*request(1, headers=traced), *response(1)),
                *(*request(2, headers=unsampled), *response(2)),
                *(*request(3), *response(3)),
            ]
            await collect.tell(batch(1, opened(), *frames, tick(counter=1)))
            await collect.folded(1)
            stored = [w for _, w in await collect.stored()]
            assert await asyncio.to_thread(collect.stop) < 5
    ours = {s.span_id: s for s in receiver.spans if s.service == "cart"}
    assert set(ours) == {stored[0].trace.span_id, stored[2].trace.span_id}
    first = ours[stored[0].trace.span_id]
    assert (first.trace_id, first.parent_id, first.name) == (TRACE, PARENT, "GET")
    assert ours[stored[2].trace.span_id].parent_id == ""
