"""What counts as an acknowledgement."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services import publishing
from services.publishing import MESSAGE_ID, Publication, Publisher


class Client:
    """As much of one as a publisher uses; answers are given by the test."""

    is_connected, max_payload = True, 1 << 20

    def __init__(self) -> None:
        self.replies: list[str] = []

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, _: str, cb: Any) -> None:
        self._answered = cb

    async def publish(self, _: str, __: bytes, reply: str, **___: object) -> None:
        self.replies.append(reply)

    async def answer(self, data: bytes) -> None:
        await self._answered(Answer(self.replies[-1], data))


class Answer:
    headers = None

    def __init__(self, subject: str, data: bytes) -> None:
        self.subject, self.data = subject, data


async def nothing() -> None:
    pass


async def test_a_duplicate_that_was_not_stored_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Servers up to 2.10 say so of an id whose message is on its way, or was lost with a leader."""
    monkeypatch.setattr(publishing, "RETRY_AFTER", 0.01)
    client = Client()
    publisher = Publisher(client, nothing)  # type: ignore[arg-type]
    await publisher.open()
    stored: list[int] = []
    await publisher.publish(Publication("raw", b"", {MESSAGE_ID: "id"}, stored.append))
    await client.answer(b'{"stream":"RAW","seq":0,"duplicate": true}')
    assert not stored
    assert (publisher.pending, publisher.counters.refused) == (1, 1)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        resending = tasks.create_task(publisher.resend_overdue())
        while len(client.replies) < 2:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
        resending.cancel()
    await client.answer(b'{"stream":"RAW","seq":7,"duplicate": true}')
    assert stored == [7]
    assert (publisher.pending, publisher.counters.duplicates) == (0, 1)
