"""The bus: one connection to NATS, with its streams, its publications and its cursors.

Knows subjects and bytes, not what they mean. Everything that can go wrong with the server at the
start ends in a BusError of one line with the mend; later failures are waited out and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import (
    APIError,
    BadRequestError,
    KeyWrongLastSequenceError,
    NoStreamResponseError,
    NotFoundError,
    ServiceUnavailableError,
)
from nats.js.errors import Error as JetStreamError

from services import streams, subjects
from services.addresses import BusError, check_url, without_secrets
from services.buckets import Bucket
from services.cursor import Cursor, Incoming, StreamPosition
from services.publishing import MESSAGE_ID, Publication, Publisher, Stored
from services.settings import SharedSettings
from services.telemetry import Telemetry

__all__ = ["Bus", "BusError", "Incoming", "Outgoing", "check_url", "connect"]

# A message, headers included, stays this far below the server's max_payload: nats-py lets a
# slightly larger one pass, and the server then drops the connection.
PAYLOAD_MARGIN = 8 * 1024
CONNECT_FOR = 10.0  # seconds
OLDEST_SERVER = (2, 9)
INDEXED_SINCE = (2, 10)
SET_UP_ATTEMPTS = 50
BUCKET_TIMEOUT = 2.0  # seconds
ALIVE_WITHIN = 0.5  # seconds
NOT_READY_AFTER = 10.0  # seconds
RETRY_AFTER = 0.02  # seconds
BEHIND = "Plainwire-Behind"  # a header
_MOST_DIGITS = 7

log = logging.getLogger("plainwire.bus")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`message_id` makes it stored once however often it is sent; `links` are traceparents. Of the
    `behind` outputs of its sender before it any may not be stored yet: what is refused for a moment
    is sent again, and then stands behind what was sent later."""

    subject: str
    payload: bytes
    message_id: str = ""
    links: Sequence[str] = ()
    behind: int = 0

    def __repr__(self) -> str:
        return f"Outgoing({self.subject}, {len(self.payload)} bytes)"


class StreamState(NamedTuple):
    """`fill` is the share of the bytes that it may hold; from its first message to its last are
    `lag` seconds: where readers purge, so much is unread."""

    fill: float
    lag: float


class _State(msgspec.Struct):
    messages: int
    bytes: int
    first_ts: datetime
    last_ts: datetime


class _Limits(msgspec.Struct):
    max_bytes: int = 0


class _StreamInfo(msgspec.Struct):
    state: _State
    config: _Limits


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
            found = await self._fix_shards(str(shards))
        except (JetStreamError, nats.errors.Error, TimeoutError) as error:
            problem = f"bucket {subjects.BUCKET} on {self.url}: {type(error).__name__}"
            raise BusError(problem) from None
        if found != str(shards):
            raise BusError(
                f"the bus has {found} shards, the setting shards is {shards}; "
                f"set PLAINWIRE_SHARDS={found}"
            )

    async def _fix_shards(self, shards: str) -> str:
        """What the bucket says; it says `shards` if nobody has set it before. While another service
        is creating the bucket the server refuses ours, or has it and takes nothing into it."""
        for _ in range(SET_UP_ATTEMPTS):
            try:
                return await self._set_shards(shards)
            except (NoStreamResponseError, BadRequestError):
                await asyncio.sleep(RETRY_AFTER)
        return await self._set_shards(shards)

    async def _set_shards(self, shards: str) -> str:
        bucket = await self.js.create_key_value(bucket=subjects.BUCKET, replicas=self.replicas)
        try:
            await bucket.create("shards", shards.encode())
        except KeyWrongLastSequenceError:
            return ((await bucket.get("shards")).value or b"").decode(errors="replace")
        return shards

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
            await self._impatient.purge_stream(stream, subject=subject, seq=position.sequence + 1)
        except (JetStreamError, nats.errors.Error, TimeoutError):
            self.counters.errors += 1

    async def state(self, stream: str) -> StreamState | None:
        """How full it is; None where nobody says so."""
        try:
            subject = f"$JS.API.STREAM.INFO.{stream}"
            answer = await self.client.request(subject, timeout=BUCKET_TIMEOUT)
            info = msgspec.json.decode(answer.data, type=_StreamInfo)
        except (msgspec.DecodeError, nats.errors.Error, TimeoutError):
            return None
        own, most = info.state, info.config.max_bytes
        lag = (own.last_ts - own.first_ts).total_seconds() if own.messages else 0.0
        return StreamState(own.bytes / most if most > 0 else 0.0, lag)

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
        raise BusError(f"{bus.url}: {_reason(error)}") from None
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
        token=_token(settings),
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


def behind(headers: Mapping[str, str]) -> int:
    """What `Outgoing.behind` was. Anybody may write headers: nonsense is 0."""
    told = headers.get(BEHIND, "0")
    return int(told) if len(told) < _MOST_DIGITS and told.isdecimal() else 0


def destination(subject: str) -> str:
    """The subject without ids: what spans and metrics are named after."""
    return ".".join(subject.split(".")[:2]).replace("plainwire.store", "plainwire.witnesses")


def _token(settings: SharedSettings) -> str | None:
    if not settings.nats_token_file:
        return None
    try:
        return Path(settings.nats_token_file).read_text().strip()
    except OSError as error:
        raise BusError(f"token file {settings.nats_token_file}: {error.strerror}") from None


def _check_version(bus: Bus) -> None:
    version = bus.client.connected_server_version
    if (version.major, version.minor) < OLDEST_SERVER:
        raise BusError(f"{bus.url} runs nats-server {version}; 2.9 or newer is needed")


def _reason(error: nats.errors.Error) -> str:
    if "authorization" in str(error).lower():
        return "the server refuses these credentials; check PLAINWIRE_NATS_TOKEN_FILE"
    return f"can't connect: {type(error).__name__}"
