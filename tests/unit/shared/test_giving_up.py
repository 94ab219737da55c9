"""Publications that no server would take. Not: acknowledgements, which need a server."""

from __future__ import annotations

import asyncio
from typing import cast

import nats.errors
import pytest
from nats.aio.client import Client

from services.publishing import GIVEN_UP, Publication, Publisher


class FakeClient:
    max_payload = 1000
    is_connected = True

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.sent = list[bytes]()

    async def publish(self, subject: str, payload: bytes, **_: object) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(payload)


def publisher(client: FakeClient) -> Publisher:
    async def restore() -> None:
        pass

    return Publisher(cast("Client", client), restore)


async def given_up(found: Publisher, size: int, headers: dict[str, str]) -> list[int]:
    told = list[int]()
    await found.publish(Publication("plainwire.coverage.n", bytes(size), headers, told.append))
    return told


async def flushed(found: Publisher) -> None:
    async with asyncio.timeout(20):
        await found.flush()


@pytest.mark.parametrize(("size", "headers"), [(1001, {}), (950, {"Nats-Msg-Id": "x" * 40})])
async def test_what_is_too_large_is_given_up_and_keeps_nobody_waiting(
    size: int, headers: dict[str, str]
) -> None:
    client = FakeClient()
    found = publisher(client)
    assert await given_up(found, size, headers) == [GIVEN_UP]
    await flushed(found)
    assert (found.pending, found.counters.given_up, client.sent) == (0, 1, [])


@pytest.mark.parametrize(
    "error", [nats.errors.MaxPayloadError(), nats.errors.BadSubjectError(), ValueError()]
)
async def test_what_the_client_refuses_for_ever_is_given_up(error: Exception) -> None:
    client = FakeClient()
    client.error = error
    found = publisher(client)
    assert await given_up(found, 10, {}) == [GIVEN_UP]
    await flushed(found)
    assert found.counters.given_up == 1


async def test_what_the_client_refuses_for_now_stays_and_is_sent_again() -> None:
    client = FakeClient()
    client.error = nats.errors.OutboundBufferLimitError()
    found = publisher(client)
    assert await given_up(found, 10, {}) == []
    assert (found.pending, found.counters.given_up) == (1, 0)
    client.error = None
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        again = tasks.create_task(found.resend_overdue())
        while not client.sent:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        again.cancel()


async def test_what_a_server_that_came_later_finds_too_large_is_given_up() -> None:
    client = FakeClient()
    client.error = nats.errors.ConnectionClosedError()
    found = publisher(client)
    told = await given_up(found, 500, {})
    client.error, client.max_payload = None, 400
    async with asyncio.TaskGroup() as tasks:
        again = tasks.create_task(found.resend_overdue())
        await flushed(found)
        again.cancel()
    assert told == [GIVEN_UP]
    assert client.sent == []
