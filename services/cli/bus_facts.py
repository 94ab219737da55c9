"""What answers at a NATS URL: its version, JetStream, and the memory that the streams want."""

from __future__ import annotations

import nats.errors
from nats.aio.client import Client
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import APIError, Error, NotFoundError, ServiceUnavailableError

from services.cli.checks import MIB, BusFacts
from services.cli.reading import reader
from services.streams import STREAMS

_TRIAL = "PLAINWIRE_DOCTOR"


async def ask(nats_url: str | None, config: str | None) -> BusFacts:
    """Raises Failure where nobody answers, or refuses."""
    async with reader(nats_url, config) as found:
        client = found.client
        url = client.connected_url.netloc.rpartition("@")[2] if client.connected_url else ""
        server = client.connected_server_version
        version = f"{server.major}.{server.minor}.{server.patch}"
        try:
            await client.jetstream().account_info()
        except ServiceUnavailableError:
            return BusFacts(url=url, version=version)
        except (Error, nats.errors.Error) as error:
            problem = f"JetStream on {url} does not answer ({type(error).__name__}); is it on?"
            return BusFacts(url=url, problem=problem)
        missing, replicas = await _declared(client)
        wanted = [s for s in STREAMS if s.name in missing and _in_memory(s.storage)]
        needed = sum(stream.max_bytes for stream in wanted)
        return BusFacts(
            url=url,
            version=version,
            jetstream=True,
            memory=await _memory(client, needed),
            missing=tuple(missing),
            needed=needed,
            replicas=replicas,
        )


def _in_memory(storage: StorageType) -> bool:
    return storage is StorageType.MEMORY


async def _memory(client: Client, needed: int) -> int:
    """How much of `needed` the server would reserve. Only asking for it tells: the account's limit
    is not the server's. The stream that asks is deleted at once."""
    size = needed
    while size >= MIB:
        asking = StreamConfig(
            name=_TRIAL,
            subjects=["plainwire.doctor"],
            storage=StorageType.MEMORY,
            max_bytes=size,
        )
        try:
            await client.jetstream().add_stream(asking)
        except APIError:
            size //= 2
            continue
        await client.jetstream().delete_stream(_TRIAL)
        return size
    return 0


async def _declared(client: Client) -> tuple[list[str], int]:
    """Which streams are not there, and on how many servers the others are kept."""
    missing, replicas = [], 1
    for stream in STREAMS:
        try:
            info = await client.jetstream().stream_info(stream.name)
        except NotFoundError:
            missing.append(stream.name)
            continue
        replicas = max(replicas, info.config.num_replicas or 1)
    return missing, replicas
