"""The shard count: fixed in the bucket `plainwire` when the bus is first set up."""

from __future__ import annotations

import asyncio

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import (
    BadRequestError,
    Error,
    KeyWrongLastSequenceError,
    NoStreamResponseError,
)

from services import subjects

SET_UP_ATTEMPTS = 50
RETRY_AFTER = 0.02  # seconds


async def fixed(js: JetStreamContext, shards: int, replicas: int) -> str:
    """What the bucket says; it says `shards` if nobody has set it before. Raises what the server
    answers."""
    for _ in range(SET_UP_ATTEMPTS):
        try:
            return await _set(js, str(shards), replicas)
        except (NoStreamResponseError, BadRequestError):
            # Another service is creating the bucket: the server refuses ours, or has it and takes
            # nothing into it.
            await asyncio.sleep(RETRY_AFTER)
    return await _set(js, str(shards), replicas)


async def _set(js: JetStreamContext, shards: str, replicas: int) -> str:
    bucket = await js.create_key_value(bucket=subjects.BUCKET, replicas=replicas)
    try:
        await bucket.create("shards", shards.encode())
    except KeyWrongLastSequenceError:
        return ((await bucket.get("shards")).value or b"").decode(errors="replace")
    return shards


NO_ANSWER = (Error, nats.errors.Error, TimeoutError)
