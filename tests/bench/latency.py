"""How long after its last byte on the wire an exchange is a witness on the live tap."""

from __future__ import annotations

import asyncio
import http.client
import ssl
import threading
import time
from datetime import UTC, datetime

import msgspec
import nats
from nats.aio.msg import Msg

from services import subjects
from services.messages import Witness

RATE = 200  # requests a second
SECONDS = 10


def measure(url: str, port: int) -> dict[str, float]:
    """{p50, p99} in milliseconds, of the client's witnesses at RATE requests a second."""
    found = asyncio.run(_measure(url, port))
    found.sort()
    return {"p50": _quantile(found, 0.50), "p99": _quantile(found, 0.99), "count": len(found)}


async def _measure(url: str, port: int) -> list[float]:
    found: list[float] = []
    decode = msgspec.json.Decoder(Witness).decode

    async def arrived(message: Msg) -> None:
        now = time.time_ns()
        witness = decode(message.data)
        if witness.role == "client" and witness.timing.response_end:
            found.append((now - unix_ns(witness.timing.response_end)) / 1e6)

    client = await nats.connect(url)
    await client.subscribe(subjects.witnesses(), cb=arrived)
    sender = threading.Thread(target=_send, args=(port,))
    sender.start()
    while sender.is_alive():  # noqa: ASYNC110 - a thread has no awaitable end
        await asyncio.sleep(0.1)
    deadline = time.monotonic() + 10
    while len(found) < RATE * SECONDS and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await client.close()
    return found


def _send(port: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
    begin = time.monotonic()
    for number in range(RATE * SECONDS):
        time.sleep(max(0.0, begin + number / RATE - time.monotonic()))
        connection.request("GET", f"/?n={number}")
        connection.getresponse().read()
    connection.close()


def unix_ns(text: str) -> int:
    """Of RFC 3339 with nanoseconds in UTC."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    whole = datetime.fromisoformat(seconds).replace(tzinfo=UTC)
    return int(whole.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
