"""Plainwire's own processes on this host: run directory, bus, four services. What `run` and `up`
have in common. Everything here dies with this process, however it dies."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from services.cli import embedded, namespace
from services.cli.errors import PLAINWIRE_FAILED, Failure, Interrupted
from services.cli.output import say
from services.cli.pipeline import Pipeline, services_environ
from services.cli.processes import last_words
from services.cli.watch import Watch
from services.settings import SharedSettings


@dataclass
class Host:
    settings: SharedSettings  # of the bus that the services are on
    server: embedded.Server | None
    pipeline: Pipeline
    watch: Watch
    since_ns: int

    async def fail_if_interrupted(self) -> None:
        raise Interrupted((await self.watch.signals.get()).number)

    async def fail_if_server_ends(self) -> None:
        if self.server is not None:
            await self.watch.ended(self.server.pid)
            words = last_words(self.server.log) or "it was killed"
            raise Failure(f"the embedded nats-server ended: {words}", PLAINWIRE_FAILED)

    async def stop(self) -> None:
        await self.pipeline.stop()
        if self.server and not self.watch.has_ended(self.server.pid):
            os.kill(self.server.pid, signal.SIGKILL)  # all that it holds is in memory
            await self.watch.ended(self.server.pid)


def prepare(watch: Watch, settings: SharedSettings, config: str | None) -> Host:
    """A bus of our own and nothing else yet. Raises Failure."""
    since_ns = time.time_ns()
    directory = namespace.enter()
    server = embedded.start(directory)
    watch.adopt(server.pid)
    own = {"nats_url": server.url, "nats_token_file": str(server.token_file), "shards": "1"}
    own["nats_store_in_memory"] = "true"  # the run directory is a tmpfs
    bus = _with(settings, nats_url=server.url, token=server.token_file)
    pipeline = _pipeline(directory, watch, config, own)
    return Host(bus, server, pipeline, watch, since_ns)


def prepare_on(watch: Watch, settings: SharedSettings, config: str | None) -> Host:
    """On somebody's bus. Raises Failure."""
    since_ns = time.time_ns()
    directory = namespace.enter()
    pipeline = _pipeline(directory, watch, config, {"nats_url": settings.nats_url})
    return Host(settings, None, pipeline, watch, since_ns)


def _pipeline(directory: Path, watch: Watch, config: str | None, own: dict[str, str]) -> Pipeline:
    # One address for four services can't be: each would find it taken by the other.
    environ = services_environ(os.environ, health="", **own)
    if os.environ.get("PLAINWIRE_HEALTH"):
        say("PLAINWIRE_HEALTH is for a service that is started alone; here none listens")
    environ["TMPDIR"] = str(directory)
    if config:
        environ["PLAINWIRE_CONFIG"] = os.path.abspath(config)
    return Pipeline(directory, environ, say, watch)


def _with(settings: SharedSettings, nats_url: str, token: Path) -> SharedSettings:
    import msgspec

    return msgspec.structs.replace(
        settings,
        nats_url=nats_url,
        nats_token_file=str(token),
        nats_store_in_memory=True,
        shards=1,
    )
