"""The command's own connection to the bus: reads witnesses, asks services how far they are."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from services import bus as buses
from services import linux
from services.bus import Bus, BusError
from services.cli import asking
from services.cli.attaching import Attaching
from services.cli.errors import PLAINWIRE_FAILED, Failure
from services.cli.feed import Feed
from services.cli.host import Host
from services.cli.ledger import summary, total_bytes
from services.cli.missed import Missed
from services.cli.output import say
from services.cli.pipeline import SERVICES
from services.cli.tasks import beside
from services.settings import SharedSettings
from services.telemetry import Telemetry

DRAIN_WITHIN = 10.0


@dataclass
class Observer:
    bus: Bus
    node: str

    def __post_init__(self) -> None:
        self.missed = Missed(self.bus, self.node)

    @staticmethod
    async def connect(settings: SharedSettings) -> Observer:
        """Raises Failure."""
        linux.harden()  # what is read here is plaintext, redacted or not
        logging.getLogger("plainwire").propagate = False  # what a user should know, we say
        logging.getLogger("plainwire").addHandler(logging.NullHandler())
        try:
            return Observer(await buses.connect(settings, "cli", Telemetry()), settings.node)
        except BusError as error:
            raise Failure(str(error), PLAINWIRE_FAILED) from None

    async def drain(self, feed: Feed) -> None:
        """What capture has seen until now is written, or it is said that it isn't."""
        try:
            async with asyncio.timeout(DRAIN_WITHIN):
                goal = await asking.tick(self.bus.client, self.node)
                await asking.folded(self.bus.client, goal)
                await feed.read_to_the_end()
                await self.missed.finish()
        except TimeoutError as error:
            why = str(error) or f"not all is read after {DRAIN_WITHIN:g} s"
            say(f"witnesses may be missing at the end: {why}")

    async def summary(self, witnesses: int) -> tuple[str, bool]:
        """The line, and whether bytes were lost."""
        ledgers = await asking.ledgers(self.bus.client, replicas=len(SERVICES))
        found = total_bytes(ledgers)
        lost = sum(found.gaps.values()) + found.shed > 0 or bool(found.unknown)
        return summary(witnesses, ledgers), lost

    async def __aenter__(self) -> Observer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.bus.close()


async def begin(host: Host) -> Observer:
    """Returns once the probes are there. Raises Failure, also when a signal comes first."""
    return await beside(
        _begin(host),
        host.pipeline.fail_if_one_ends(),
        host.fail_if_server_ends(),
        host.fail_if_interrupted(),
    )


async def _begin(host: Host) -> Observer:
    observer = await Observer.connect(host.settings)
    coverage = await Attaching(observer.bus, observer.node, host.since_ns).wait()
    for file, reason in coverage.failed:
        say(f"no probe on {file}: {reason}")
    if not coverage.attached:
        say("there is no TLS library to probe on this host; `plainwire coverage` shows more")
    return observer
