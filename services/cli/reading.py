"""`tap`, `coverage` and `ledger`: readers of a bus that somebody else runs. They declare nothing,
and what they miss they say."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services import subjects
from services.bus import BusError, check_url
from services.cli import asking, context, tap
from services.cli.errors import Failure
from services.cli.ledger import ledger_lines, shard_lines, total_bytes, total_exchanges
from services.cli.output import say
from services.cli.overview import overview
from services.cli.rendering import escape, safe_json
from services.cli.service import shared_settings
from services.cli.sites import sites_lines
from services.ledgers import bytes_hold, exchanges_hold
from services.messages import Coverage

CONNECT_WITHIN = 3.0
SILENT_AFTER = 300.0  # seconds without a word: the node is probably gone


def run(given: Namespace) -> int:
    commands = {"coverage": _coverage, "ledger": _ledger}

    async def connected() -> int:
        async with reader(given.nats, given.config) as found:
            if given.command == "tap":
                return await tap.run(found.client, found.gone, given)
            return await commands[given.command](found.client, given)

    try:
        return asyncio.run(connected())
    except nats.errors.Error as error:
        raise Failure(f"the bus: {type(error).__name__}; see `plainwire doctor`") from None


@asynccontextmanager
async def reader(nats_url: str | None, config: str | None) -> AsyncIterator[Reader]:
    """Connected to --nats, PLAINWIRE_NATS_URL or a running `plainwire up`. Raises Failure."""
    url, token = _where(nats_url, config)
    client, gone = Client(), asyncio.Event()

    async def closed() -> None:
        gone.set()

    try:
        async with asyncio.timeout(CONNECT_WITHIN):
            await client.connect(
                url.split(","),
                name="plainwire-cli",
                token=token,
                allow_reconnect=False,
                error_cb=_ignore,
                closed_cb=closed,
            )
    except nats.errors.Error as error:
        raise Failure(_refusal(url, error)) from None
    except (OSError, TimeoutError):
        raise Failure(_unanswered(url)) from None
    try:
        yield Reader(client, gone)
    finally:
        await client.close()


class Reader(NamedTuple):
    """`gone` is set when the server has closed the connection."""

    client: Client
    gone: asyncio.Event


async def _ignore(_: Exception) -> None:
    return  # what goes wrong is raised where it is awaited


def _where(nats_url: str | None, config: str | None) -> tuple[str, str | None]:
    settings = shared_settings(os.environ, config)
    found = context.read(os.environ)
    if nats_url is None and found and "PLAINWIRE_NATS_URL" not in os.environ and not config:
        return found.url, found.token
    if nats_url is not None:
        settings = msgspec.structs.replace(settings, nats_url=nats_url)
    try:
        url = ",".join(check_url(settings))
        file = settings.nats_token_file
        return url, Path(file).read_text().strip() if file else None
    except BusError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"token file {file}: {error.strerror}") from None


def _refusal(url: str, error: nats.errors.Error) -> str:
    if isinstance(error, nats.errors.AuthorizationError) or "uthoriz" in str(error):
        return f"{_host(url)} refuses these credentials; set PLAINWIRE_NATS_TOKEN_FILE"
    return _unanswered(url)


def _unanswered(url: str) -> str:
    mend = "start `plainwire up`, or name one by --nats"
    if os.geteuid():  # what root's `up` left is for root's eyes
        mend = f"{mend}; if root's `plainwire up` runs here, use sudo"
    return f"no NATS server answers at {_host(url)}; {mend}"


def _host(url: str) -> str:
    return url.rpartition("@")[2].rpartition("//")[2]


async def _coverage(client: Client, given: Namespace) -> int:
    found = _decoded(await _last_coverages(client))
    if not found:
        raise Failure("no node has said what it captures; is capture running?")
    for coverage in sorted(found, key=lambda c: c.node):
        if given.json:
            _print(safe_json(msgspec.json.encode(coverage)).decode())
            continue
        silent = time.time() - coverage.time_ns / 1e9
        if silent > SILENT_AFTER:
            _print(f"{subjects.token(coverage.node)} silent for {silent / 60:.0f} minutes")
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
        for line in (*overview(coverage, width), *(sites_lines(coverage) if given.sites else ())):
            _print(line)
    return 0


def _decoded(payloads: list[bytes]) -> list[Coverage]:
    """Anybody who may publish can write nonsense: that hides no other node."""
    found = []
    for payload in payloads:
        try:
            found.append(msgspec.json.decode(payload, type=Coverage))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            say("a message on the bus is no coverage; it is left out")
    return found


async def _last_coverages(client: Client) -> list[bytes]:
    js = client.jetstream()
    try:
        info = await js.stream_info(subjects.COVERAGE, subjects_filter=">")
    except NotFoundError:
        return []
    names = info.state.subjects or {}
    messages = [await js.get_last_msg(subjects.COVERAGE, name) for name in names]
    return [message.data or b"" for message in messages]


async def _ledger(client: Client, given: Namespace) -> int:
    found = await asking.ledgers(client)
    if not found:
        raise Failure("no service answers; is a pipeline running on this bus?")
    if given.json:
        document = {
            "bytes": total_bytes(found),
            "exchanges": total_exchanges(found),
            "holds": {
                "bytes": bytes_hold(total_bytes(found)),
                "exchanges": exchanges_hold(total_exchanges(found)),
            },
            "services": found,
        }
        _print(safe_json(msgspec.json.encode(document)).decode())
    else:
        for line in (*ledger_lines(found), *(shard_lines(found) if given.shards else ())):
            _print(escape(line))
    return 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
