"""Publications to JetStream that are on their way: a bounded window, acknowledged or sent again.

A publication keeps its message id however often it is sent, so the server stores it once. The
window is the back-pressure: `publish` waits while it is full. Nothing is given up here but what no
server would take (too large, no subject); what must not wait (capture) keeps a spool in front.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

MESSAGE_ID = "Nats-Msg-Id"
MAX_MESSAGES = 256
MAX_BYTES = 64 << 20
RESEND_AFTER = 5.0  # seconds without an answer
RETRY_AFTER = 0.25  # seconds after a refusal, and twice as long after each further one
RETRY_AT_MOST = 4.0

GIVEN_UP = 0  # no message's sequence
_NEVER = (
    nats.errors.MaxPayloadError,
    nats.errors.BadSubjectError,
    nats.errors.BadHeaderError,
    ValueError,
)

Stored = Callable[[int], None]

log = logging.getLogger("plainwire.bus")


@dataclass(slots=True, eq=False)
class Publication:
    """`stored` is told the stream sequence once the server has it, or GIVEN_UP where it never will.
    It goes out no more once `still` says no: its owner has lost the shard, and ids older than the
    stream's window protect nobody."""

    subject: str
    payload: bytes
    headers: dict[str, str]
    stored: Stored | None = None
    still: Callable[[], bool] | None = None
    since: float = 0.0
    resend_at: float = 0.0
    attempts: int = 0

    def size(self) -> int:
        """As the server measures it: headers count."""
        return len(self.payload) + sum(len(k) + len(v) + 4 for k, v in self.headers.items()) + 12


@dataclass(slots=True)
class PublishCounters:
    published: int = 0
    acknowledged: int = 0
    duplicates: int = 0
    resent: int = 0
    refused: int = 0
    dropped: int = 0
    given_up: int = 0


@dataclass
class Publisher:
    """`restore` is called when the server does not know a stream: it may have restarted."""

    client: Client
    restore: Callable[[], Awaitable[None]]
    counters: PublishCounters = field(default_factory=PublishCounters)

    def __post_init__(self) -> None:
        self._pending: dict[int, Publication] = {}
        self._pending_bytes = 0
        self._next = 0
        self._changed = asyncio.Condition()
        self._inbox = ""
        self._stream_is_missing = False

    async def open(self) -> None:
        self._inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self._inbox}.*", cb=self._on_answer)

    async def publish(self, publication: Publication) -> None:
        """Returns once it is in the window."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room(len(publication.payload)))
            self._next += 1
            number = self._next
            publication.since = asyncio.get_running_loop().time()
            self._pending[number] = publication
            self._pending_bytes += len(publication.payload)
        self.counters.published += 1
        await self._send(number, publication)

    async def flush(self) -> None:
        """Returns once everything that was published is acknowledged."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._pending)

    async def resend_overdue(self) -> None:
        """Runs for ever: what was refused or not answered goes out again, oldest first."""
        while True:
            await asyncio.sleep(RETRY_AFTER / 2)
            if not self.client.is_connected:
                continue
            await self._restore_streams()
            now = asyncio.get_running_loop().time()
            for number, publication in list(self._pending.items()):
                if publication.resend_at <= now and number in self._pending:
                    await self._resend(number, publication)

    async def _resend(self, number: int, publication: Publication) -> None:
        if publication.still is not None and not publication.still():
            self.counters.dropped += 1
            await self._forget(number, publication)
            return
        self.counters.resent += 1
        await self._send(number, publication)

    async def _forget(self, number: int, publication: Publication) -> bool:
        """False where that was done before."""
        found = self._pending.pop(number, None) is not None
        self._pending_bytes -= len(publication.payload) if found else 0
        async with self._changed:
            self._changed.notify_all()
        return found

    async def _restore_streams(self) -> None:
        if self._stream_is_missing:
            self._stream_is_missing = False
            await self.restore()

    def resend_all(self) -> None:
        """After a reconnect nobody knows which answers were lost."""
        for publication in self._pending.values():
            publication.resend_at = 0.0

    @property
    def pending(self) -> int:
        return len(self._pending)

    def waiting(self) -> float:
        """Seconds that the oldest publication has waited for its acknowledgement."""
        oldest = next(iter(self._pending.values()), None)
        return asyncio.get_running_loop().time() - oldest.since if oldest else 0.0

    def _has_room(self, size: int) -> bool:
        if not self._pending:
            return True
        return len(self._pending) < MAX_MESSAGES and self._pending_bytes + size <= MAX_BYTES

    async def _send(self, number: int, publication: Publication) -> None:
        if publication.size() > self.client.max_payload:
            await self._give_up(number, publication)
            return
        publication.attempts += 1
        publication.resend_at = asyncio.get_running_loop().time() + RESEND_AFTER
        try:
            await self.client.publish(
                publication.subject,
                publication.payload,
                reply=f"{self._inbox}.{number}",
                headers=publication.headers or None,
            )
        except _NEVER:
            await self._give_up(number, publication)
        except nats.errors.Error:
            publication.resend_at = 0.0  # goes out once the client is connected again

    async def _give_up(self, number: int, publication: Publication) -> None:
        """No server would ever take it; whoever waits for it must not wait for ever."""
        self.counters.given_up += 1
        area = ".".join(publication.subject.split(".")[:2])
        log.warning("%s: a message of %d bytes isn't taken", area, len(publication.payload))
        if await self._forget(number, publication) and publication.stored is not None:
            publication.stored(GIVEN_UP)

    async def _on_answer(self, message: Msg) -> None:
        number = int(message.subject.rpartition(".")[2])
        publication = self._pending.get(number)
        if publication is None:
            return
        sequence = _stored_as(message)
        if sequence is None:
            self.counters.refused += 1
            self._stream_is_missing = self._stream_is_missing or _no_stream(message)
            publication.resend_at = asyncio.get_running_loop().time() + _pause(publication)
            return
        self.counters.acknowledged += 1
        self.counters.duplicates += b'"duplicate"' in message.data
        if publication.stored is not None:
            publication.stored(sequence)
        await self._forget(number, publication)


def _pause(publication: Publication) -> float:
    return min(RETRY_AT_MOST, RETRY_AFTER * float(1 << min(publication.attempts - 1, 8)))


def _no_stream(message: Msg) -> bool:
    return bool(message.headers and message.headers.get("Status") == "503")


def _stored_as(message: Msg) -> int | None:
    if not message.data:
        return None
    try:
        answer = json.loads(message.data)
    except ValueError:
        return None
    # A duplicate of number 0, up to 2.10: the id is known, but its message is still on its way, or
    # was lost with the leader that was about to store it.
    return None if "error" in answer else int(answer.get("seq", 0)) or None
