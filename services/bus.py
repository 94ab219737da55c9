"""The bus: one connection to NATS, with its streams, its publications and its cursors.

Knows subjects and bytes, not what they mean. Everything that can go wrong with the server at the
start ends in a BusError of one line with the mend; later failures are waited out and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import (
    APIError,
    NotFoundError,
    ServiceUnavailableError,
)
from nats.js.errors import Error as JetStreamError

from services import sharding, streams, subjects
from services.addresses import BusError, check_url, reason, token, without_secrets
from services.buckets import Bucket
from services.cursor import Cursor, Incoming, StreamPosition
from services.outgoing import BEHIND, Outgoing, behind, destination
from services.publishing import MESSAGE_ID, Publication, Publisher, Stored
from services.settings import SharedSettings
from services.streams import StreamState
from services.telemetry import Telemetry

__all__ = [
    "BEHIND",
    "Bus",
    "BusError",
    "Incoming",
    "Outgoing",
    "StreamState",
    "behind",
    "check_url",
    "connect",
    "destination",
]

# A message, headers included, stays this far below the server's max_payload: nats-py lets a
# slightly larger one pass, and the server then drops the connection.
PAYLOAD_MARGIN = 8 * 1024
CONNECT_FOR = 10.0  # seconds
OLDEST_SERVER = (2, 9)
INDEXED_SINCE = (2, 10)
BUCKET_TIMEOUT = 2.0  # seconds
ALIVE_WITHIN = 0.5  # seconds
NOT_READY_AFTER = 10.0  # seconds

log = logging.getLogger("plainwire.bus")


@dataclass(slots=True)
class BusCounters:
    disconnects: int = 0
    reconnects: int = 0
    errors: int = 0


@dataclass
class Bus:
    """Made by `connect`; `run` must be kept running beside whatever uses it."""

    client: Client
    url: str
    telemetry: Telemetry
    replicas: int = 1
    store_in_memory: bool = False
    counters: BusCounters = field(default_factory=BusCounters)

    def __post_init__(self) -> None:
        self.js = self.client.jetstream()
        self._impatient = self.client.jetstream(timeout=BUCKET_TIMEOUT)
        self.publisher = Publisher(self.client, self._declare_again)
        self._reconnected = asyncio.Event()
        self._closing = False

    @property
    def max_payload(self) -> int:
        """Bytes that a message's payload may have."""
        return self.client.max_payload - PAYLOAD_MARGIN

    @property
    def connected(self) -> bool:
        return self.client.is_connected

    async def declare(self) -> None:
        """Streams are there, or are made. Raises BusError."""
        try:
            version = self.client.connected_server_version
            indexed = (version.major, version.minor) >= INDEXED_SINCE
            server = streams.Server(self.replicas, indexed, self.store_in_memory)
            await streams.declare(self.js, server)
        except ServiceUnavailableError:
            raise BusError(f"JetStream is off on {self.url}; start nats-server with -js") from None
        except APIError as error:
            raise BusError(f"{self.url} refuses a stream: {error.description}") from None
        except (nats.errors.Error, TimeoutError):
            raise BusError(
                f"JetStream does not answer on {self.url}; is it on (-js), with memory?"
            ) from None

    async def agree_on_shards(self, shards: int) -> None:
        """The shard count is fixed when the bus is first set up. Raises BusError."""
        try:
            found = await sharding.fixed(self.js, shards, self.replicas)
        except sharding.NO_ANSWER as error:
            problem = f"bucket {subjects.BUCKET} on {self.url}: {type(error).__name__}"
            raise BusError(problem) from None
        if found != str(shards):
            raise BusError(
                f"the bus has {found} shards, the setting shards is {shards}; "
                f"set PLAINWIRE_SHARDS={found}"
            )

    async def publish(
        self,
        out: Outgoing,
        stored: Stored | None = None,
        still: Callable[[], bool] | None = None,
    ) -> None:
        """Waits while too much is unacknowledged; returns once it is on its way. `stored` is told
        when the server has it; where `still` says no it is not sent again."""
        headers = {MESSAGE_ID: out.message_id} if out.message_id else {}
        if out.behind:
            headers[BEHIND] = str(out.behind)
        with self.telemetry.publishing(destination(out.subject), headers, out.links):
            await self.publisher.publish(
                Publication(out.subject, out.payload, headers, stored, still)
            )

    async def flush(self) -> None:
        """Everything published so far is acknowledged."""
        await self.publisher.flush()

    def cursor(self, stream: str, subject: str, after: StreamPosition | None = None) -> Cursor:
        """All of the subject's messages behind `after` that the stream holds, and those to come,
        in order."""
        return Cursor(self.client, self.js, stream, subject, after=after)

    async def purge(self, position: StreamPosition, stream: str, subject: str) -> None:
        """Removes a subject's messages up to this one. What fails is done by the next one."""
        try:
            await streams.purge(self._impatient, stream, subject, position)
        except (JetStreamError, nats.errors.Error, TimeoutError):
            self.counters.errors += 1

    async def state(self, stream: str) -> StreamState | None:
        """How full it is; None where nobody says so."""
        return await streams.state(self.client, stream)

    def bucket(self, name: str) -> Bucket:
        return Bucket(self.client, self._impatient, self.publisher, name)

    async def answer(self, subject: str) -> None:
        """Tells whoever asks there that this connection lives."""

        async def pong(message: Msg) -> None:
            await message.respond(b"")

        await self.client.subscribe(subject, cb=pong)

    async def is_dead(self, subject: str) -> bool:
        """Nobody listens there: its connection is gone. Silence proves nothing."""
        try:
            await self.client.request(subject, timeout=ALIVE_WITHIN)
        except nats.errors.NoRespondersError:
            return True
        except (nats.errors.Error, TimeoutError):
            return False
        return False

    async def listen(self, subject: str, heard: Callable[[str, bool], None]) -> None:
        """To a bucket, as core NATS has it: at most once. Whether a value was deleted is told."""

        async def hear(message: Msg) -> None:
            heard(message.subject, bool(message.headers and "KV-Operation" in message.headers))

        await self.client.subscribe(subject, cb=hear)

    def latest(self, stream: str, subject: str) -> AsyncIterator[Incoming]:
        """The subject's last message, if there is one, and each newer one."""
        return aiter(Cursor(self.client, self.js, stream, subject, last_value=True))

    async def last(self, stream: str, subject: str) -> Incoming | None:
        try:
            found = await self.js.get_last_msg(stream, subject)
        except NotFoundError:
            return None
        return Incoming(subject, found.data or b"", "", found.seq or 0, found.headers or {})

    async def run(self) -> None:
        """Runs for ever: sends again what was not acknowledged, declares after a reconnect."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.publisher.resend_overdue(), name="resend")
            tasks.create_task(self._declare_after_reconnects(), name="declare")

    async def _declare_after_reconnects(self) -> None:
        while True:
            await self._reconnected.wait()
            self._reconnected.clear()
            try:
                await self.declare()
            except BusError as error:
                log.warning("%s", error)
                await asyncio.sleep(1)
                self._reconnected.set()
            self.publisher.resend_all()

    async def _declare_again(self) -> None:
        try:
            await self.declare()
        except BusError as error:
            log.warning("%s", error)

    def problem(self) -> str | None:
        """Why this is not ready, for /readyz."""
        if not self.connected:
            return "not connected"
        waiting = self.publisher.waiting()
        if waiting > NOT_READY_AFTER:
            return f"JetStream has not acknowledged a publication for {waiting:.0f} s"
        return None

    async def close(self) -> None:
        self._closing = True
        if not self.client.is_closed:
            await self.client.close()

    async def on_disconnected(self) -> None:
        if self._closing:
            return
        self.counters.disconnects += 1
        log.warning("lost the connection to %s", self.url)

    async def on_reconnected(self) -> None:
        log.warning("connected to %s again", self.url)
        self.counters.reconnects += 1
        self._reconnected.set()

    async def on_error(self, error: Exception) -> None:
        """Only counted: a server that is away is said once, by readiness, not at each attempt."""
        self.counters.errors += 1
        log.debug("bus: %s", type(error).__name__)


async def connect(settings: SharedSettings, name: str, telemetry: Telemetry) -> Bus:
    """Connected, with streams declared and the shard count agreed. Raises BusError."""
    urls = check_url(settings)
    client = Client()
    told = ", ".join(map(without_secrets, urls))
    bus = Bus(client, told, telemetry, settings.nats_replicas, settings.nats_store_in_memory)
    try:
        async with asyncio.timeout(CONNECT_FOR):
            await _connect(bus, urls, settings, name)
    except (TimeoutError, OSError, nats.errors.NoServersError):
        await bus.close()
        problem = f"no NATS server answers at {bus.url}; start one or set PLAINWIRE_NATS_URL"
        raise BusError(problem) from None
    except nats.errors.Error as error:
        await bus.close()
        raise BusError(f"{bus.url}: {reason(error)}") from None
    _check_version(bus)
    await bus.declare()
    await bus.agree_on_shards(settings.shards)
    await bus.publisher.open()
    return bus


async def _connect(bus: Bus, urls: list[str], settings: SharedSettings, name: str) -> None:
    """Tries again while nothing listens; a server that refuses is an answer."""
    await bus.client.connect(
        urls,
        name=subjects.micro(name),
        token=token(settings),
        error_cb=bus.on_error,
        disconnected_cb=bus.on_disconnected,
        reconnected_cb=bus.on_reconnected,
        allow_reconnect=False,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # type: ignore[arg-type]
        connect_timeout=2,
        ping_interval=10,
        pending_size=32 << 20,
    )
    bus.client.options["allow_reconnect"] = True


def _check_version(bus: Bus) -> None:
    version = bus.client.connected_server_version
    if (version.major, version.minor) < OLDEST_SERVER:
        raise BusError(f"{bus.url} runs nats-server {version}; 2.9 or newer is needed")
