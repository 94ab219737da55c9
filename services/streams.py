"""The streams: which there are, what they hold, and how they are declared.

Declaring is idempotent and is done again after every reconnect, because a server that restarts has
lost its memory streams. A limit that the server has no memory for is halved until it fits.
"""

from __future__ import annotations

from typing import NamedTuple

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RePublish, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from services import subjects

MIB = 1 << 20
_NO_MEMORY = (10023, 10028)  # insufficient resources · insufficient memory resources
_TAKEN = (10058, 10065)  # name in use · subjects overlap
_SMALLEST = 8 * MIB


class Stream(NamedTuple):
    """Ages and windows in seconds, sizes in bytes."""

    name: str
    subject: str
    storage: StorageType
    max_age: float
    max_bytes: int = -1
    window: float = 120
    last_value: bool = False
    republish: str = ""
    bucket: bool = False  # as every NATS client knows them


_MEMORY, _FILE = StorageType.MEMORY, StorageType.FILE

STREAMS = (
    Stream(subjects.TARGETS, "plainwire.targets.>", _FILE, 86_400, 64 * MIB, last_value=True),
    Stream(subjects.COVERAGE, "plainwire.coverage.>", _FILE, 86_400, 64 * MIB, last_value=True),
    Stream(subjects.RAW, "plainwire.raw.>", _MEMORY, 120, 256 * MIB, window=120),
    Stream(subjects.FRAMES, "plainwire.frames.>", _MEMORY, 180, 256 * MIB, window=180),
    # In memory until redaction covers bodies and URLs: plaintext never touches a disk.
    Stream(
        subjects.WITNESSES,
        "plainwire.store.witnesses.>",
        _MEMORY,
        86_400,
        256 * MIB,
        window=300,
        republish="plainwire.witnesses.>",
    ),
    # Who owns which shard, and the shards' state: both are plaintext's neighbours, in memory.
    Stream(f"KV_{subjects.OWNERS}", f"$KV.{subjects.OWNERS}.>", _MEMORY, 10, 8 * MIB, 10, True,
           bucket=True),
    Stream(f"KV_{subjects.STATE}", f"$KV.{subjects.STATE}.>", _MEMORY, 0, 256 * MIB, 10, True,
           bucket=True),
)  # fmt: skip


async def declare(js: JetStreamContext, replicas: int = 1) -> None:
    for stream in STREAMS:
        await _declare(js, stream, replicas)


async def _declare(js: JetStreamContext, stream: Stream, replicas: int) -> None:
    if await _is_there(js, stream.name):
        return
    max_bytes = stream.max_bytes
    while True:
        try:
            await js.add_stream(_configuration(stream, max_bytes, replicas))
            return
        except APIError as error:
            if error.err_code in _TAKEN and await _is_there(js, stream.name):
                return  # another service was faster
            if error.err_code not in _NO_MEMORY or max_bytes // 2 < _SMALLEST:
                raise
            max_bytes //= 2


async def _is_there(js: JetStreamContext, name: str) -> bool:
    try:
        await js.stream_info(name)
    except NotFoundError:
        return False
    return True


def _configuration(stream: Stream, max_bytes: int, replicas: int) -> StreamConfig:
    return StreamConfig(
        name=stream.name,
        subjects=[stream.subject],
        storage=stream.storage,
        max_age=stream.max_age,
        max_bytes=max_bytes,
        duplicate_window=stream.window,
        discard=DiscardPolicy.NEW if stream.bucket else DiscardPolicy.OLD,
        num_replicas=replicas,
        allow_rollup_hdrs=stream.bucket,
        deny_delete=stream.bucket,
        max_msgs_per_subject=1 if stream.last_value else -1,
        republish=RePublish(src=stream.subject, dest=stream.republish)
        if stream.republish
        else None,
    )
