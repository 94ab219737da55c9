"""What answers at a NATS URL: its version, JetStream, and the memory that the streams want."""

from __future__ import annotations

import nats.errors
from nats.aio.client import Client
from nats.js.api import StorageType
from nats.js.errors import Error, NotFoundError, ServiceUnavailableError

from services.cli.checks import BusFacts
from services.cli.reading import reader
from services.streams import STREAMS


async def ask(nats_url: str | None, config: str | None) -> BusFacts:
    """Raises Failure where nobody answers, or refuses."""
    async with reader(nats_url, config) as client:
        url = client.connected_url.netloc.rpartition("@")[2] if client.connected_url else ""
        version = str(client.connected_server_version)
        try:
            account = await client.jetstream().account_info()
        except ServiceUnavailableError:
            return BusFacts(url=url, version=version)
        except (Error, nats.errors.Error) as error:
            problem = f"JetStream on {url} does not answer ({type(error).__name__}); is it on?"
            return BusFacts(url=url, problem=problem)
        missing = await _missing(client)
        return BusFacts(
            url=url,
            version=version,
            jetstream=True,
            memory_limit=account.limits.max_memory,
            memory_used=account.memory,
            missing=tuple(missing),
            needed=sum(s.max_bytes for s in STREAMS if s.name in missing and _in_memory(s.storage)),
        )


def _in_memory(storage: StorageType) -> bool:
    return storage is StorageType.MEMORY


async def _missing(client: Client) -> list[str]:
    found = []
    for stream in STREAMS:
        try:
            await client.jetstream().stream_info(stream.name)
        except NotFoundError:
            found.append(stream.name)
    return found
