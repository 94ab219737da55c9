"""Exchanges a second through parse and through collect alone, one core, from recorded traffic.

The recording is real: raw batches that capture published while nginx was under load.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from services import bus as buses
from services import records, subjects
from services.bus import Incoming, Outgoing
from services.collect.collector import Collector
from services.collect.state import Limits as CollectLimits
from services.messages import RequestHead
from services.parse.limits import Limits as ParseLimits
from services.parse.parser import Parser
from services.settings import SharedSettings
from services.telemetry import Telemetry
from tests.bench import load
from tests.bench.throughput import capturing

MAX_PAYLOAD = 1_000_000
Load = Callable[[int], object]
Fold = Callable[[Incoming], list[Outgoing]]

LOADS: dict[str, Load] = {
    "h1": lambda port: load.wrk(port, 1),
    "h2": lambda port: load.h2load(port, 20_000),
}


def record(generate: Load) -> list[Incoming]:
    """What stands in RAW after this load, seen from both ends."""
    with (
        tempfile.TemporaryDirectory() as folder,
        load.nginx(Path(folder)) as port,
        capturing(("discovery", "capture"), budget=False) as running,
    ):
        generate(port)
        running.ask("capture", "tick")
        return asyncio.run(_read(running.url))


async def _read(url: str) -> list[Incoming]:
    bus = await buses.connect(SharedSettings(nats_url=url, shards=1), "bench", Telemetry())
    info = await bus.js.stream_info(subjects.RAW)
    found = []
    async for incoming in bus.cursor(subjects.RAW, subjects.raw_of_shard(0)):
        found.append(incoming)
        if incoming.sequence >= info.state.last_seq:
            break
    await bus.close()
    return found


def measure(recording: list[Incoming], rounds: int) -> tuple[float, float]:
    """(parse, collect) in exchanges a second, medians."""
    frames = _run(_parser(), recording)
    exchanges = sum(_requests(frame) for frame in frames)
    parse = [_rate(_parser(), recording, exchanges) for _ in range(rounds)]
    collect = [_rate(_collector(), frames, exchanges) for _ in range(rounds)]
    return statistics.median(parse), statistics.median(collect)


def _parser() -> Fold:
    return Parser(ParseLimits()).begin(0).receive


def _collector() -> Fold:
    return Collector(CollectLimits(), MAX_PAYLOAD, ()).begin(0).receive


def _run(fold: Fold, messages: list[Incoming]) -> list[Incoming]:
    return [_arrived(out) for message in messages for out in fold(message)]


def _arrived(out: Outgoing) -> Incoming:
    return Incoming(out.subject, out.payload, out.message_id, 0, {})


def _rate(fold: Fold, messages: list[Incoming], exchanges: int) -> float:
    begin = time.process_time()
    for message in messages:
        fold(message)
    return exchanges / (time.process_time() - begin)


def _requests(message: Incoming) -> int:
    batch = records.decode_frames(message.payload)
    return sum(isinstance(frame, RequestHead) for frame in batch.frames)
