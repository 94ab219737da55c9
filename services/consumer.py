"""One ephemeral pull consumer of the server and its one open pull request.

Knows when it is of no use any more: no heartbeat, a status that ends it, another connection. Where
reading begins and goes on is the cursor's.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque

from nats.aio.client import Client
from nats.aio.msg import Msg

BATCH = 256
MAX_BYTES = 16 << 20
EXPIRES = 10.0  # seconds that the server holds a pull request
HEARTBEAT = 2.0  # seconds; twice that without a word and the consumer is made again
LOOKS = 8  # within that time, whether the connection is still the same


class Consumer:
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
        self._asked = 0
        self._asked_before = 0
        self._reconnects = client.stats["reconnects"]
        self.stopped = False

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

    def stop(self) -> None:
        """What has not been handed out is dropped."""
        self.stopped = True
        self._something.set()

    async def next(self) -> Msg | None:
        """A message, or None where this consumer is of no use any more."""
        while not self.stopped:
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
        return None

    async def _ask(self) -> bool:
        """Keeps a request open and waits for anything to arrive."""
        if self._wanted <= 0:
            self._wanted = BATCH
            self._asked += 1
            await self._client.publish(self._next_subject, self._request, reply=self._inbox)
        self._something.clear()
        if self._arrived or self.stopped:
            return True
        for _ in range(LOOKS):
            try:
                async with asyncio.timeout(2 * HEARTBEAT / LOOKS):
                    await self._something.wait()
                return True
            except TimeoutError:
                if self._client.stats["reconnects"] != self._reconnects:
                    return False  # the server, or another one, may not know this consumer
        return False

    def _take_status(self, message: Msg) -> bool:
        status = (message.headers or {}).get("Status", "")
        if status == "100":  # heartbeat
            return True
        description = (message.headers or {}).get("Description", "")
        if status in ("404", "408") or (status == "409" and "MaxBytes" in description):
            self._wanted = 0
            return True
        return False

    def asked_anew(self) -> bool:
        """Since this was last asked: there was a time in which the server sent nothing."""
        before, self._asked_before = self._asked_before, self._asked
        return self._asked != before

    def follows(self, consumer_sequence: int) -> bool:
        return consumer_sequence == self._sequence
