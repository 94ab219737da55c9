"""What nginx keeps of its bare requests a second while it and wrk are captured with payload.

Each way is run in each round, one after the other, so that a noisy minute hits all of them.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import msgspec

from services import bus as buses
from services import subjects
from services.bus import Outgoing
from services.messages import Targets
from services.settings import SharedSettings
from services.telemetry import Telemetry
from tests.bench import load, probing
from tests.support import pipeline
from tests.support.nats_server import LocalProcess, NatsServer
from tests.support.pipeline import NODE, Pipeline

WARM_UP = 1  # seconds

Way = Callable[[], AbstractContextManager[Pipeline | None]]
Losses = dict[str, list[float]]


@contextmanager
def capturing(
    services: Sequence[str],
    targets: Targets | None = None,
    *,
    budget: bool = True,
    waits_for: Path | None = None,
) -> Iterator[Pipeline]:
    """A nats-server and these services; `targets` stand in for discovery. Without a budget
    everything is captured, whatever it costs. Ready once this file, or libssl, is probed."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        store = Path(name) / "nats"
        store.mkdir()
        with NatsServer(LocalProcess(), store) as server:
            settings = {
                "PLAINWIRE_SHARDS": "1",
                "PLAINWIRE_NATS_STORE_IN_MEMORY": "true",
                "PLAINWIRE_CAPTURE_SHED": str(budget).lower(),
            }
            running = Pipeline(Path(name), server, settings)
            try:
                for service in services:
                    running.start(service)
                if targets is not None:
                    asyncio.run(_publish(server.url, targets))
                running.wait_attached(waits_for or pipeline.system_libssl())
                yield running
            finally:
                running.stop()


async def _publish(url: str, targets: Targets) -> None:
    bus = await buses.connect(SharedSettings(nats_url=url, shards=1), "bench", Telemetry())
    await bus.publish(Outgoing(subjects.targets(NODE), msgspec.json.encode(targets)))
    await bus.flush()
    await bus.close()


def ways() -> dict[str, Way]:
    targets = probing.chosen(NODE)
    first_byte = probing.at_first_bytes(targets)
    return {
        "bare": nullcontext,
        "empty": lambda: probing.empty(targets),  # type: ignore[dict-item, return-value]
        "first_byte": lambda: capturing(("capture",), first_byte, budget=False),
        "kept": lambda: capturing(("discovery", "capture"), budget=False),
        "budget": lambda: capturing(("discovery", "capture")),
        "all": lambda: capturing(("discovery", "capture", "parse", "collect")),
    }


def measure(
    rounds: int, seconds: float, path: str = "/", only: Sequence[str] = ()
) -> dict[str, dict[str, float]]:
    """Requests a second of each way: median, share of bare, and the shares of bytes that were shed
    and that were lost otherwise."""
    rates: dict[str, list[float]] = {}
    lost: Losses = {}
    shed: Losses = {}
    chosen = {name: way for name, way in ways().items() if not only or name in only}
    with tempfile.TemporaryDirectory() as folder, load.nginx(Path(folder)) as port:
        for _ in range(rounds):
            for name, way in chosen.items():
                with way() as running:
                    load.wrk(port, WARM_UP, path)
                    rates.setdefault(name, []).append(load.wrk(port, seconds, path))
                    if isinstance(running, Pipeline):
                        lost.setdefault(name, []).append(lost_share(running))
                        shed.setdefault(name, []).append(_shed_share(running))
    bare = statistics.median(rates["bare"])
    return {
        name: {
            "requests_per_second": statistics.median(found),
            "kept": statistics.median(found) / bare,
            "lost": statistics.median(lost.get(name, [0.0])),
            "shed": statistics.median(shed.get(name, [0.0])),
        }
        for name, found in rates.items()
    }


def lost_share(running: Pipeline) -> float:
    counters = running.ledger("capture").counters
    lost = sum(n for name, n in counters.items() if name.startswith("lost_"))
    lost += counters["spool_dropped_bytes"] - counters["lost_shed_bytes"]
    return lost / max(1, counters["seen_bytes"])


def _shed_share(running: Pipeline) -> float:
    counters = running.ledger("capture").counters
    return counters["lost_shed_bytes"] / max(1, counters["seen_bytes"])
