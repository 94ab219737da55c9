"""Reading a stream in order, contiguously, from a known position: an ephemeral pull consumer.

A position is (the stream's creation time, sequence). What the stream lost behind the reader's back
is told with the next message: it was made anew, it expired, or somebody purged it. That something
was lost is certain where fewer messages are left than there were. Where nothing was asked for for
a moment it may be: then the reason is told in case, and counters tell whether.

Not nats-py's ordered consumer: that one loses its start sequence on an early reset and skips what a
slow subscription dropped. Here one pull request is open at a time, consumer sequences must follow
one another, and whatever looks wrong ends in a new consumer behind the last message handed out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamInfo
from nats.js.errors import Error

from services.consumer import Consumer
from services.publishing import MESSAGE_ID

FORGET_AFTER = 60.0  # seconds until the server drops a consumer that nobody reads
RETRY_AFTER = 0.25
_NO_HEADERS: Mapping[str, str] = {}


class StreamPosition(Struct, frozen=True):
    """The last message that was read, and when the stream had stored it (Unix ns)."""

    created: str
    sequence: int
    stored_ns: int = 0


Interruption = Literal["", "bus_restart", "expired", "purged"]


@dataclass(frozen=True, slots=True)
class Incoming:
    """`sequence` is the stream's; `interrupted` says what became of messages before this one, if
    any that should be there are not."""

    subject: str
    payload: bytes
    message_id: str
    sequence: int
    headers: Mapping[str, str]
    interrupted: Interruption = ""
    created: str = ""
    stored_ns: int = 0

    @property
    def restarted(self) -> bool:
        return self.interrupted == "bus_restart"

    @property
    def position(self) -> StreamPosition:
        return StreamPosition(self.created, self.sequence, self.stored_ns)

    def __repr__(self) -> str:
        return f"Incoming({self.subject}, {self.sequence}, {len(self.payload)} bytes)"


@dataclass(slots=True)
class CursorCounters:
    delivered: int = 0
    consumers: int = 0  # made: 1 where nothing went wrong
    not_contiguous: int = 0
    stream_restarts: int = 0
    stream_expired: int = 0
    stream_purged: int = 0


@dataclass
class Cursor:
    """Iterate it. `last_value` starts at the last message of each subject instead of the first,
    `after` behind what was read before."""

    client: Client
    js: JetStreamContext
    stream: str
    subject: str
    last_value: bool = False
    after: StreamPosition | None = None
    counters: CursorCounters = field(default_factory=CursorCounters)

    def __post_init__(self) -> None:
        after = self.after or StreamPosition("", 0)
        self._after = after.sequence  # the last stream sequence that was handed out
        self._stored_ns = after.stored_ns
        self._created = after.created
        self._interrupted: Interruption = ""
        self._pending = 0  # messages that the server has for this reader behind the last one
        self._stopped = False
        self._consumer_now: Consumer | None = None

    @property
    def pending(self) -> int:
        return self._pending

    def stop(self) -> None:
        """The iteration ends before the next message."""
        self._stopped = True
        if self._consumer_now is not None:
            self._consumer_now.stop()

    async def __aiter__(self) -> AsyncIterator[Incoming]:
        while not self.client.is_closed and not self._stopped:
            consumer = await self._consumer()
            if consumer is None:
                await asyncio.sleep(RETRY_AFTER)
                continue
            self._consumer_now = consumer
            try:
                async for incoming in self._read(consumer):
                    yield incoming
            finally:
                self._consumer_now = None
                await consumer.close()

    async def _read(self, consumer: Consumer) -> AsyncIterator[Incoming]:
        while not self._stopped:
            try:
                message = await consumer.next()
            except (nats.errors.ConnectionClosedError, nats.errors.OutboundBufferLimitError):
                return
            if message is None:
                return
            stream_sequence, consumer_sequence, stored_ns, pending = _sequences(message.reply)
            if not consumer.follows(consumer_sequence):
                self.counters.not_contiguous += 1
                return
            if stream_sequence <= self._after:
                continue
            if not self._interrupted:
                await self._notice_removal(consumer, stream_sequence, pending)
            self._after, self._stored_ns, self._pending = stream_sequence, stored_ns, pending
            yield self._incoming(message)

    def _incoming(self, message: Msg) -> Incoming:
        self.counters.delivered += 1
        headers = message.headers or _NO_HEADERS
        interrupted, self._interrupted = self._interrupted, ""
        return Incoming(
            message.subject,
            message.data,
            headers.get(MESSAGE_ID, ""),
            self._after,
            headers,
            interrupted,
            self._created,
            self._stored_ns,
        )

    async def _consumer(self) -> Consumer | None:
        """None where the server can't give one now."""
        if not self.client.is_connected:
            return None
        try:
            await self._notice()
            info = await self.js.add_consumer(self.stream, self._configuration())
            consumer = Consumer(self.client, self.stream, info.name)
            await consumer.open()
        except (Error, nats.errors.Error, TimeoutError):
            return None
        self.counters.consumers += 1
        return consumer

    async def _notice(self) -> None:
        """What has become of the stream since the last message."""
        info = await self.js.stream_info(self.stream)
        created = str(info.created)
        self._pending = 0
        if self._created and created != self._created:
            self.counters.stream_restarts += 1
            self._after, self._stored_ns = 0, 0
            self._interrupted = "bus_restart"
        elif self._after and info.state.first_seq > self._after + 1:
            self._interrupted = _removal(info, self._stored_ns)
        self._created = created

    async def _notice_removal(self, consumer: Consumer, sequence: int, pending: int) -> None:
        removed = pending < self._pending - 1
        in_case = consumer.asked_anew() and 0 < self._after < sequence - 1
        if not removed and not in_case:
            return
        try:
            info = await self.js.stream_info(self.stream)
        except (Error, nats.errors.Error, TimeoutError):
            return
        what: Interruption = "purged"  # this subject's alone, where the stream has older ones
        if info.state.first_seq > self._after + 1:
            what = _removal(info, self._stored_ns)
        self._interrupted = what
        if removed:
            self.counters.stream_expired += what == "expired"
            self.counters.stream_purged += what == "purged"

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


def _removal(info: StreamInfo, read_ns: int) -> Interruption:
    """Age and size remove the oldest; what went although it was young, in a stream that is not
    full, was purged."""
    limits = info.config
    aged = bool(limits.max_age) and time.time_ns() - read_ns >= (limits.max_age or 0) * 1e9
    most = limits.max_bytes or 0
    full = 0 < most * 9 < info.state.bytes * 10
    return "expired" if aged or full else "purged"


def _sequences(reply: str) -> tuple[int, int, int, int]:
    """Stream and consumer sequence, time and messages left of `$JS.ACK…`; newer servers add a
    domain and an account."""
    tokens = reply.split(".")
    first = 5 if len(tokens) < 11 else 7
    stream, consumer, stored_ns, pending = tokens[first : first + 4]
    return int(stream), int(consumer), int(stored_ns), int(pending)
