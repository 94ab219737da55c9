"""The streams: which there are, what they hold, how full they are, and how they are declared.

Declaring is idempotent and is done again after every reconnect, because a server that restarts has
lost its memory streams. A limit that the server has no memory for is halved until it fits.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RePublish, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from services import subjects

MIB = 1 << 20
ANSWER_WITHIN = 2.0  # seconds
_NO_MEMORY = (10023, 10028)  # insufficient resources · insufficient memory resources
_TAKEN = (10058, 10065)  # name in use · subjects overlap
_NO_PEERS = 10005  # a cluster whose servers are not all there yet
_PEERS_WITHIN = 10.0  # seconds
_LOOK_AGAIN = 0.25
_SMALLEST = 8 * MIB
# nats-server 2.9 searches a memory stream for each message that it republishes: at 18,000 messages
# it stores 1,600 a second, at 4,000 still 10,000.
_MOST_SEARCHED = 4_000


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


class Server(NamedTuple):
    """What the declarations depend on. `indexed`: its memory streams find a subject's last message
    without a search (2.10); `in_memory`: its store directory is no disk."""

    replicas: int = 1
    indexed: bool = True
    in_memory: bool = False


_MEMORY, _FILE = StorageType.MEMORY, StorageType.FILE
_all = subjects.everything

STREAMS = (
    Stream(subjects.TARGETS, _all("targets"), _FILE, 86_400, 64 * MIB, last_value=True),
    Stream(subjects.COVERAGE, _all("coverage"), _FILE, 86_400, 64 * MIB, last_value=True),
    Stream(subjects.RAW, _all("raw"), _MEMORY, 120, 256 * MIB, window=120),
    Stream(subjects.FRAMES, _all("frames"), _MEMORY, 180, 256 * MIB, window=180),
    # In memory until redaction covers bodies and URLs: plaintext never touches a disk.
    Stream(
        subjects.WITNESSES,
        _all("store.witnesses"),
        _MEMORY,
        86_400,
        256 * MIB,
        window=300,
        republish=_all("witnesses"),
    ),
    # Who owns which shard, and the shards' state: both are plaintext's neighbours, in memory.
    Stream(f"KV_{subjects.OWNERS}", f"$KV.{subjects.OWNERS}.>", _MEMORY, 10, 8 * MIB, 10, True,
           bucket=True),
    Stream(f"KV_{subjects.STATE}", f"$KV.{subjects.STATE}.>", _MEMORY, 0, 256 * MIB, 10, True,
           bucket=True),
)  # fmt: skip


async def declare(js: JetStreamContext, server: Server) -> None:
    for stream in STREAMS:
        await _declare(js, stream, server)


async def _declare(js: JetStreamContext, stream: Stream, server: Server) -> None:
    if await _is_there(js, stream.name):
        return
    max_bytes = stream.max_bytes
    give_up_at = asyncio.get_running_loop().time() + _PEERS_WITHIN
    while True:
        try:
            await js.add_stream(_configuration(stream, max_bytes, server))
            return
        except APIError as error:
            if error.err_code in _TAKEN and await _is_there(js, stream.name):
                return  # another service was faster
            if error.err_code == _NO_PEERS and asyncio.get_running_loop().time() < give_up_at:
                await asyncio.sleep(_LOOK_AGAIN)
                continue
            if error.err_code not in _NO_MEMORY or max_bytes // 2 < _SMALLEST:
                raise
            max_bytes //= 2


async def _is_there(js: JetStreamContext, name: str) -> bool:
    try:
        await js.stream_info(name)
    except NotFoundError:
        return False
    return True


def _configuration(stream: Stream, max_bytes: int, server: Server) -> StreamConfig:
    searched = bool(stream.republish) and not server.indexed
    as_file = searched and server.in_memory
    return StreamConfig(
        name=stream.name,
        subjects=[stream.subject],
        storage=_FILE if as_file else stream.storage,
        max_msgs=_MOST_SEARCHED if searched and not as_file else -1,
        max_age=stream.max_age,
        max_bytes=max_bytes,
        duplicate_window=stream.window,
        discard=DiscardPolicy.NEW if stream.bucket else DiscardPolicy.OLD,
        num_replicas=server.replicas,
        allow_rollup_hdrs=stream.bucket,
        deny_delete=stream.bucket,
        max_msgs_per_subject=1 if stream.last_value else -1,
        republish=RePublish(src=stream.subject, dest=stream.republish)
        if stream.republish
        else None,
    )


class Place(Protocol):
    """Of a message: when the stream that held it was made, and its sequence there."""

    @property
    def created(self) -> str: ...

    @property
    def sequence(self) -> int: ...


async def purge(js: JetStreamContext, stream: str, subject: str, upto: Place) -> None:
    """In a stream that was made anew the same sequence is another message's, which nobody has
    read: nothing is removed from it."""
    if str((await js.stream_info(stream)).created) == upto.created:
        await js.purge_stream(stream, subject=subject, seq=upto.sequence + 1)


async def state(client: Client, stream: str) -> StreamState | None:
    """None where nobody says so."""
    try:
        answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=ANSWER_WITHIN)
        info = msgspec.json.decode(answer.data, type=_StreamInfo)
    except (msgspec.DecodeError, nats.errors.Error, TimeoutError):
        return None
    own, most = info.state, info.config.max_bytes
    lag = (own.last_ts - own.first_ts).total_seconds() if own.messages else 0.0
    return StreamState(own.bytes / most if most > 0 else 0.0, lag)
