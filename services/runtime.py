"""What every service process is: hardened, on the bus, observable, stopped by SIGTERM.

A service gives `run` its body; the body returns when `stopping` is set and it has drained. Knows
nothing of what a service does.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import nats.micro
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, EndpointStats, Service, ServiceConfig

from services import bus as buses
from services import clusters, linux, subjects, telemetry
from services import health as healths
from services.addresses import without_secrets
from services.bus import Bus, BusError
from services.health import Health
from services.messages import ServiceLedger
from services.settings import SharedSettings
from services.stage import Stage

STOP_WITHIN = 3.5  # seconds that a body has for draining once it is told to stop
FLUSH_WITHIN = 1.0
SAY_AFTER = 1.0  # second without a bus

log = logging.getLogger("plainwire.runtime")

Handler = Callable[[bytes], Awaitable[bytes]]


@dataclass
class Runtime:
    """What a body is given."""

    name: str
    settings: SharedSettings
    bus: Bus
    health: Health
    telemetry: telemetry.Telemetry
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _ledger: Callable[[], ServiceLedger] | None = None
    _service: Service | None = None

    def describe(self, ledger: Callable[[], ServiceLedger]) -> None:
        """Shows these sums in micro STATS, on the endpoint `ledger` and as metrics."""
        self._ledger = ledger

    async def run_stage(self, stage: Stage, ledger: Callable[[], ServiceLedger]) -> None:
        """Until it is told to stop. Shows the sums of its shards, and where each of them is."""

        def told() -> ServiceLedger:
            own = ledger()
            counters = {**own.counters, **stage.counters()}
            return msgspec.structs.replace(
                own,
                node=self.settings.node,
                replica=stage.replica,
                owned=stage.shards_owned(),
                counters=counters,
            )

        self.describe(told)
        self.health.check("shards", stage.problem)
        await stage.run(self.stopping)

    async def endpoint(self, name: str, handler: Handler) -> None:
        """Answers requests on plainwire.<service>.<name>.<node>. A failure answers without text."""

        async def answer(request: Request) -> None:
            await request.respond(await handler(request.data))

        if self._service is None:
            raise RuntimeError("endpoints are added while the service runs")
        subject = subjects.endpoint(self.name, name, self.settings.node)
        await self._service.add_endpoint(EndpointConfig(name=name, handler=answer, subject=subject))

    def ledger(self) -> ServiceLedger:
        own = self._ledger() if self._ledger else ServiceLedger(service=self.name)
        return msgspec.structs.replace(own, counters={**own.counters, **self._bus_counters()})

    def metrics(self) -> dict[str, int]:
        return dict(flat(self.ledger()))

    def _bus_counters(self) -> dict[str, int]:
        publisher, counters = self.bus.publisher, self.bus.counters
        return {
            "bus_published": publisher.counters.published,
            "bus_acknowledged": publisher.counters.acknowledged,
            "bus_duplicates": publisher.counters.duplicates,
            "bus_resent": publisher.counters.resent,
            "bus_refused": publisher.counters.refused,
            "bus_pending": publisher.pending,
            "bus_dropped": publisher.counters.dropped,
            "bus_given_up": publisher.counters.given_up,
            "bus_waiting_ms": int(publisher.waiting() * 1000),
            "bus_disconnects": counters.disconnects,
            "bus_reconnects": counters.reconnects,
        }

    async def register(self) -> None:
        """As a NATS micro service: `nats micro ls`, `info` and `stats` show it."""

        def stats(_: EndpointStats) -> dict[str, object]:
            found: dict[str, object] = msgspec.to_builtins(self.ledger())
            return found

        self._service = await nats.micro.add_service(
            self.bus.client,
            ServiceConfig(
                name=subjects.micro(self.name),
                version=release(),
                description=f"Plainwire {self.name}",
                metadata={"node": self.settings.node, "shards": str(self.settings.shards)},
                stats_handler=stats,
            ),
        )

        async def ledger(_: bytes) -> bytes:
            return msgspec.json.encode(self.ledger())

        await self.endpoint("ledger", ledger)


def flat(ledger: ServiceLedger) -> list[tuple[str, int]]:
    """A ledger's sums as metric names, reasons as labels."""
    found = list(ledger.counters.items())
    if ledger.bytes:
        b = ledger.bytes
        found += [("bytes_seen", b.seen), ("bytes_parsed", b.parsed), ("bytes_opaque", b.opaque)]
        found += [("bytes_shed", b.shed), ("bytes_in_flight", b.in_flight)]
        found += [(f"bytes_gaps{{reason={reason}}}", n) for reason, n in b.gaps.items()]
    if ledger.exchanges:
        e = ledger.exchanges
        found += [("exchanges_begun", e.begun), ("exchanges_complete", e.complete)]
        found += [("exchanges_filtered", e.filtered), ("exchanges_open", e.open)]
        found += [(f"exchanges_partial{{reason={r}}}", n) for r, n in e.partial.items()]
    return found


def fingerprint(service: str, settings: msgspec.Struct) -> str:
    """Of the code and the settings that decide what a service makes of its input: a replay is
    promised to be exact where this is the same."""
    root = Path(__file__).parent
    digest = hashlib.blake2s(msgspec.msgpack.encode(settings), digest_size=8)
    for source in (*sorted(root.glob("*.py")), *sorted((root / service).rglob("*.py"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def release() -> str:
    try:
        return version("plainwire")
    except PackageNotFoundError:
        return "0.0.0"


def run(name: str, settings: SharedSettings, body: Callable[[Runtime], Awaitable[None]]) -> int:
    """Runs a service until it is told to stop; the exit status. Errors are one line on stderr."""
    linux.harden()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format=f"plainwire {name}: %(levelname)s %(message)s"
    )
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    status = 0
    try:
        asyncio.run(_serve(name, settings, body))
    except* (BusError, OSError, ValueError) as group:
        status = 1
        for error in _leaves(group):
            sys.stderr.write(f"plainwire {name}: {error}\n")
    return status


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _serve(
    name: str, settings: SharedSettings, body: Callable[[Runtime], Awaitable[None]]
) -> None:
    traces = telemetry.start(name, settings.node, release())
    stopping = asyncio.Event()
    _stop_on_signals(stopping)
    bus = await _connected(name, settings, traces)
    runtime = Runtime(name, settings, bus, Health(f"plainwire_{name}"), traces, stopping)
    runtime.health.check("nats", bus.problem)
    runtime.health.counters = runtime.metrics
    server = await _serve_health(runtime)
    try:
        async with asyncio.TaskGroup() as tasks:
            background = tasks.create_task(bus.run(), name="bus")
            await runtime.register()
            await _run_body(runtime, body)
            background.cancel()
    finally:
        if server is not None:
            server.close()
        await bus.close()
        traces.close()


async def _connected(name: str, settings: SharedSettings, traces: telemetry.Telemetry) -> Bus:
    urls = ", ".join(map(without_secrets, settings.nats_url.split(",")))
    loop = asyncio.get_running_loop()
    waiting = loop.call_later(SAY_AFTER, log.info, "waiting for NATS at %s", urls)
    try:
        bus = await buses.connect(settings, name, traces)
    finally:
        waiting.cancel()
    version = bus.client.connected_server_version
    log.info("node %s, nats-server %s at %s", settings.node, version, bus.url)
    numbers = (version.major, version.minor, version.patch)
    if warning := clusters.unsafe(numbers, settings.nats_replicas):
        log.warning("%s", warning)
    return bus


async def _serve_health(runtime: Runtime) -> asyncio.Server | None:
    address = runtime.settings.health
    if not address:
        return None
    try:
        return await healths.serve(runtime.health, address)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BusError(
            f"can't listen on {address}: {reason}; set PLAINWIRE_HEALTH to a free host:port"
        ) from None


async def _run_body(runtime: Runtime, body: Callable[[Runtime], Awaitable[None]]) -> None:
    """The body to its end, or at most STOP_WITHIN after it was told to stop."""
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(_as_coroutine(body(runtime)), name=runtime.name)
        watch = tasks.create_task(_cancel_when_overdue(runtime.stopping, work), name="stop")
        await asyncio.wait([work])
        watch.cancel()
    try:
        async with asyncio.timeout(FLUSH_WITHIN):
            await runtime.bus.flush()
    except TimeoutError:
        log.warning("%d publications were not acknowledged", runtime.bus.publisher.pending)


async def _as_coroutine(awaitable: Awaitable[None]) -> None:
    await awaitable


async def _cancel_when_overdue(stopping: asyncio.Event, work: asyncio.Task[None]) -> None:
    await stopping.wait()
    await asyncio.sleep(STOP_WITHIN)
    log.warning("not drained after %g s; stopping all the same", STOP_WITHIN)
    work.cancel()


def _stop_on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
