"""Questions to running services: their ledgers, capture's tick, how far collect has folded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from services import subjects
from services.messages import Position, ServiceLedger

ANSWER_WITHIN = 2.0  # seconds for a service that is busy
_POLL = 0.02  # seconds


class _Endpoint(Struct):
    data: ServiceLedger | None = None


class _Stats(Struct):
    name: str
    endpoints: list[_Endpoint] = []


_stats = msgspec.json.Decoder(_Stats)
_positions = msgspec.json.Decoder(list[Position])


async def ledgers(client: Client, replicas: int = 0, within: float = 1.0) -> list[ServiceLedger]:
    """What every replica of every service answers; done early where `replicas` have answered."""
    found: list[ServiceLedger] = []
    enough = asyncio.Event()

    async def answer(message: Msg) -> None:
        if (ledger := read_stats(message.data)) is not None:
            found.append(ledger)
        if len(found) == replicas:
            enough.set()

    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, cb=answer)
    await client.publish("$SRV.STATS", reply=inbox)
    await _within(enough, within)
    await subscription.unsubscribe()
    return sorted(found, key=lambda ledger: (ledger.service, ledger.node))


def read_stats(payload: bytes) -> ServiceLedger | None:
    """None where somebody else's service answers, or nonsense."""
    try:
        stats = _stats.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not stats.name.startswith("plainwire-"):
        return None
    return next((e.data for e in stats.endpoints if e.data is not None), None)


async def tick(client: Client, node: str) -> Sequence[Position]:
    """Capture reads its rings now, and says where every shard then ends. Raises TimeoutError."""
    subject = subjects.endpoint("capture", "tick", node)
    try:
        answer = await client.request(subject, timeout=ANSWER_WITHIN * 2)
        return _positions.decode(answer.data)
    except (nats.errors.Error, msgspec.DecodeError) as error:
        raise TimeoutError(f"capture does not answer: {type(error).__name__}") from None


async def folded(client: Client, goal: Sequence[Position]) -> None:
    """Returns once the replicas of collect, together, have folded everything up to `goal`."""
    joined: dict[tuple[str, int], Position] = {}
    done = asyncio.Event()

    async def answer(message: Msg) -> None:
        ledger = read_stats(message.data)
        join(joined, ledger.positions if ledger else ())
        if reached(joined.values(), goal):
            done.set()

    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, cb=answer)
    try:
        while not done.is_set():
            await client.publish("$SRV.STATS.plainwire-collect", reply=inbox)
            await _within(done, _POLL)
    finally:
        await subscription.unsubscribe()


def join(joined: dict[tuple[str, int], Position], positions: Iterable[Position]) -> None:
    """What one replica has folded stays folded, whoever owns the shard next."""
    for at in positions:
        key = at.node, at.shard
        if key not in joined or (joined[key].epoch, joined[key].counter) < (at.epoch, at.counter):
            joined[key] = at


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def reached(positions: Iterable[Position], goal: Iterable[Position]) -> bool:
    at = {(p.node, p.shard): (p.epoch, p.counter) for p in positions}
    return all(at.get((p.node, p.shard), (0, 0)) >= (p.epoch, p.counter) for p in goal)
