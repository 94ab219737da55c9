"""Reading a stream in order, contiguously, from a known position: an ephemeral pull consumer.

Not nats-py's ordered consumer: that one loses its start sequence on an early reset and skips what a
slow subscription dropped. Here one pull request is open at a time, consumer sequences must follow
one another, and whatever looks wrong ends in a new consumer behind the last message handed out.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, Error, NotFoundError

from services.publishing import MESSAGE_ID

BATCH = 256
MAX_BYTES = 16 << 20
EXPIRES = 10.0  # seconds that the server holds a pull request
HEARTBEAT = 2.0  # seconds; twice that without a word and the consumer is made again
FORGET_AFTER = 60.0  # seconds until the server drops a consumer that nobody reads
RETRY_AFTER = 0.25
_NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Incoming:
    """`sequence` is the stream's; `restarted` says that the stream was made anew before it."""

    subject: str
    payload: bytes
    message_id: str
    sequence: int
    headers: Mapping[str, str]
    restarted: bool = False

    def __repr__(self) -> str:
        return f"Incoming({self.subject}, {self.sequence}, {len(self.payload)} bytes)"


@dataclass(slots=True)
class CursorCounters:
    delivered: int = 0
    consumers: int = 0  # made: 1 where nothing went wrong
    not_contiguous: int = 0
    stream_restarts: int = 0


class _Consumer:
    """One server-side consumer and its one open pull request."""

    def __init__(self, client: Client, stream: str, name: str) -> None:
        self._client = client
        self._next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"
        self._inbox = client.new_inbox()
        self._arrived: deque[Msg] = deque()
        self._something = asyncio.Event()
        self._wanted = 0
        self._request = b""
        self._sequence = 0

    async def open(self) -> None:
        self._request = json.dumps(
            {
                "batch": BATCH,
                "max_bytes": MAX_BYTES,
                "expires": int(EXPIRES * 1e9),
                "idle_heartbeat": int(HEARTBEAT * 1e9),
            }
        ).encode()
        self._subscription = await self._client.subscribe(
            self._inbox, cb=self._on_message, pending_bytes_limit=4 * MAX_BYTES
        )

    async def close(self) -> None:
        if not self._client.is_closed:
            await self._subscription.unsubscribe()

    async def _on_message(self, message: Msg) -> None:
        self._arrived.append(message)
        self._something.set()

    async def next(self) -> Msg | None:
        """A message, or None where this consumer is of no use any more."""
        while True:
            if not self._arrived:
                if not await self._ask():
                    return None
                continue
            message = self._arrived.popleft()
            if message.reply:
                self._wanted -= 1
                self._sequence += 1
                return message
            if not self._take_status(message):
                return None

    async def _ask(self) -> bool:
        """Keeps a request open and waits for anything to arrive."""
        if self._wanted <= 0:
            self._wanted = BATCH
            await self._client.publish(self._next_subject, self._request, reply=self._inbox)
        self._something.clear()
        if self._arrived:
            return True
        try:
            async with asyncio.timeout(2 * HEARTBEAT):
                await self._something.wait()
        except TimeoutError:
            return False
        return True

    def _take_status(self, message: Msg) -> bool:
        status = (message.headers or {}).get("Status", "")
        if status == "100":  # heartbeat
            return True
        description = (message.headers or {}).get("Description", "")
        if status in ("404", "408") or (status == "409" and "MaxBytes" in description):
            self._wanted = 0
            return True
        return False

    def follows(self, consumer_sequence: int) -> bool:
        return consumer_sequence == self._sequence


@dataclass
class Cursor:
    """Iterate it. `last_value` starts at the last message of each subject instead of the first."""

    client: Client
    js: JetStreamContext
    stream: str
    subject: str
    last_value: bool = False
    counters: CursorCounters = field(default_factory=CursorCounters)

    def __post_init__(self) -> None:
        self._after = 0  # the last stream sequence that was handed out
        self._created = ""
        self._restarted = False

    async def __aiter__(self) -> AsyncIterator[Incoming]:
        while not self.client.is_closed:
            consumer = await self._consumer()
            if consumer is None:
                await asyncio.sleep(RETRY_AFTER)
                continue
            try:
                async for incoming in self._read(consumer):
                    yield incoming
            finally:
                await consumer.close()

    async def _read(self, consumer: _Consumer) -> AsyncIterator[Incoming]:
        while True:
            try:
                message = await consumer.next()
            except (nats.errors.ConnectionClosedError, nats.errors.OutboundBufferLimitError):
                return
            if message is None:
                return
            stream_sequence, consumer_sequence = _sequences(message.reply)
            if not consumer.follows(consumer_sequence):
                self.counters.not_contiguous += 1
                return
            if stream_sequence <= self._after:
                continue
            self._after = stream_sequence
            yield self._incoming(message, stream_sequence)

    def _incoming(self, message: Msg, sequence: int) -> Incoming:
        self.counters.delivered += 1
        headers = message.headers or _NO_HEADERS
        restarted, self._restarted = self._restarted, False
        return Incoming(
            message.subject,
            message.data,
            headers.get(MESSAGE_ID, ""),
            sequence,
            headers,
            restarted,
        )

    async def _consumer(self) -> _Consumer | None:
        """None where the server can't give one now."""
        if not self.client.is_connected:
            return None
        try:
            await self._notice_restart()
            info = await self.js.add_consumer(self.stream, self._configuration())
            consumer = _Consumer(self.client, self.stream, info.name)
            await consumer.open()
        except (NotFoundError, APIError, Error, nats.errors.Error, TimeoutError):
            return None
        self.counters.consumers += 1
        return consumer

    async def _notice_restart(self) -> None:
        info = await self.js.stream_info(self.stream)
        created = str(info.created)
        if self._created and created != self._created:
            self.counters.stream_restarts += 1
            self._after = 0
            self._restarted = True
        self._created = created

    def _configuration(self) -> ConsumerConfig:
        if self.last_value and not self._after:
            start: dict[str, object] = {"deliver_policy": DeliverPolicy.LAST_PER_SUBJECT}
        elif self._after:
            start = {
                "deliver_policy": DeliverPolicy.BY_START_SEQUENCE,
                "opt_start_seq": self._after + 1,
            }
        else:
            start = {"deliver_policy": DeliverPolicy.ALL}
        return ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            filter_subject=self.subject,
            inactive_threshold=FORGET_AFTER,
            mem_storage=True,
            num_replicas=1,
            **start,  # type: ignore[arg-type]
        )


def _sequences(reply: str) -> tuple[int, int]:
    """Stream and consumer sequence of `$JS.ACK…`; newer servers add a domain and an account."""
    tokens = reply.split(".")
    first = 5 if len(tokens) < 11 else 7
    return int(tokens[first]), int(tokens[first + 1])
