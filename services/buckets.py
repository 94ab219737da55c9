"""Key-value buckets of the bus: read whole, written by compare-and-set.

A bucket is a stream of last values under `$KV.<bucket>.`, as every NATS client has it. What a
write met is an answer: its revision, a Conflict, or Unavailable where nobody can tell whether it
was stored. Knows keys and bytes, not what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import Error, NotFoundError

from services.publishing import MESSAGE_ID, Publication, Publisher

ANSWER_WITHIN = 1.5  # seconds
_OPERATION = "KV-Operation"
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_WRONG_LAST = 10071
_BATCH = 512


class Conflict(Exception):
    """Somebody else wrote this key."""


class Unavailable(Exception):
    """No answer, or a refusal; a write may or may not have been stored."""


class Entry(NamedTuple):
    """`value` is None for a key that was deleted."""

    value: bytes | None
    revision: int

    def __repr__(self) -> str:
        return f"Entry({self.revision}, {len(self.value or b'')} bytes)"


class Part(NamedTuple):
    """A value on its way: `stored` is told its revision; it is given up once `still` says no."""

    key: str
    value: bytes
    message_id: str
    stored: Callable[[int], None]
    still: Callable[[], bool]


class Bucket:
    def __init__(
        self, client: Client, js: JetStreamContext, publisher: Publisher, name: str
    ) -> None:
        self._client = client
        self._js = js
        self._publisher = publisher
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."

    async def get(self, key: str) -> Entry | None:
        """Raises Unavailable."""
        try:
            found = await self._js.get_last_msg(self._stream, self._prefix + key)
        except NotFoundError:
            return None
        except (Error, nats.errors.Error, TimeoutError) as error:
            raise Unavailable(type(error).__name__) from None
        deleted = found.headers is not None and _OPERATION in found.headers
        return Entry(None if deleted else found.data or b"", found.seq or 0)

    async def at(self, revision: int) -> bytes | None:
        """The value that was written as this revision, where it still is the key's last."""
        try:
            found = await self._js.get_msg(self._stream, revision)
        except NotFoundError:
            return None
        except (Error, nats.errors.Error, TimeoutError) as error:
            raise Unavailable(type(error).__name__) from None
        return found.data or b""

    async def entries(self, prefix: str) -> dict[str, Entry]:
        """Every key below `prefix.`, deleted ones included. Raises Unavailable."""
        try:
            return await self._entries(f"{self._prefix}{prefix}.>")
        except (Error, nats.errors.Error, TimeoutError) as error:
            raise Unavailable(type(error).__name__) from None

    async def _entries(self, subject: str) -> dict[str, Entry]:
        info = await self._js.add_consumer(self._stream, _last_of_each(subject))
        left = info.num_pending or 0
        found: dict[str, Entry] = {}
        if not left:
            return found
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        try:
            while left > 0:
                asked = min(left, _BATCH)
                request = json.dumps({"batch": asked, "expires": int(ANSWER_WITHIN * 1e9)})
                await self._client.publish(
                    f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{info.name}",
                    request.encode(),
                    reply=inbox,
                )
                for _ in range(asked):
                    message = await subscription.next_msg(ANSWER_WITHIN)
                    if not message.reply:  # a status: entries expired in the meantime
                        return found
                    deleted = bool(message.headers and _OPERATION in message.headers)
                    found[message.subject.removeprefix(self._prefix)] = Entry(
                        None if deleted else message.data, _sequence(message.reply)
                    )
                left -= asked
        finally:
            if not self._client.is_closed:
                await subscription.unsubscribe()
        return found

    async def put(self, key: str, value: bytes, last: int | None = None) -> int:
        """The new revision. `last` is the revision that must be there, 0 for none. Raises
        Conflict and Unavailable."""
        headers = {} if last is None else {_EXPECTED: str(last)}
        return await self._write(key, value, headers)

    async def delete(self, key: str, last: int | None = None) -> None:
        """Raises Conflict and Unavailable."""
        headers = {_OPERATION: "DEL"} | ({} if last is None else {_EXPECTED: str(last)})
        await self._write(key, b"", headers)

    async def send(self, part: Part) -> None:
        """Through the bus's window, sent again until it is stored: for large values."""
        await self._publisher.publish(
            Publication(
                self._prefix + part.key,
                part.value,
                {MESSAGE_ID: part.message_id},
                part.stored,
                part.still,
            )
        )

    async def clear(self, key: str) -> None:
        """Overwrites a value that nobody needs, without waiting for an answer."""
        await self._client.publish(self._prefix + key, b"", headers={_OPERATION: "PURGE"})

    async def purge(self, prefix: str) -> None:
        """Every key below `prefix.`, without a trace. Raises Unavailable."""
        try:
            await self._js.purge_stream(self._stream, subject=f"{self._prefix}{prefix}.>")
        except (Error, nats.errors.Error, TimeoutError) as error:
            raise Unavailable(type(error).__name__) from None

    async def _write(self, key: str, value: bytes, headers: dict[str, str]) -> int:
        try:
            answer = await self._client.request(
                self._prefix + key, value, timeout=ANSWER_WITHIN, headers=headers or None
            )
            told = json.loads(answer.data)
        except (nats.errors.Error, TimeoutError, ValueError) as error:
            raise Unavailable(type(error).__name__) from None
        if refusal := told.get("error"):
            if refusal.get("err_code") == _WRONG_LAST:
                raise Conflict(key)
            raise Unavailable(str(refusal.get("description", "refused")))
        return int(told["seq"])


def _last_of_each(subject: str) -> ConsumerConfig:
    return ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
        filter_subject=subject,
        inactive_threshold=5.0,
        mem_storage=True,
        num_replicas=1,
    )


def _sequence(reply: str) -> int:
    """Of `$JS.ACK…`; newer servers add a domain and an account."""
    tokens = reply.split(".")
    return int(tokens[5 if len(tokens) < 11 else 7])
