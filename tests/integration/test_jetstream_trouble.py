"""JetStream that is slow, refuses, or whose answers are lost: back-pressure and retries, bounded,
and visible in readiness and metrics; once it is well again, everything is stored once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from nats.aio.msg import Msg

from services import bus as buses
from services import publishing, subjects
from services.bus import Bus
from tests.integration.test_bus import batch, connected, read
from tests.support.nats_server import NatsServer

COUNT = 400  # more than the window
REFUSAL = json.dumps(
    {"error": {"code": 500, "err_code": 10023, "description": "insufficient resources"}}
).encode()


class Trouble:
    """Stands between the bus and what the server answers, until it is over."""

    def __init__(self, bus: Bus, answer: Callable[[Msg], bytes | None]) -> None:
        self.over = asyncio.Event()
        self._answer = answer
        self._real = bus.publisher._on_answer
        self.spoiled = 0
        bus.publisher._on_answer = self._receive  # type: ignore[method-assign]

    async def _receive(self, message: Msg) -> None:
        if not self.over.is_set():
            self.spoiled += 1
            found = self._answer(message)
            if found is None:
                return
            message.data = found
        await self._real(message)


@pytest.mark.parametrize(
    ("answer", "counter"),
    [(lambda _: None, "resent"), (lambda _: REFUSAL, "refused")],
    ids=["answers are lost", "memory is refused"],
)
async def test_what_is_not_acknowledged_holds_up_and_is_stored_once_in_the_end(
    answer: Callable[[Msg], bytes | None],
    counter: str,
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "RESEND_AFTER", 0.5)
    monkeypatch.setattr(publishing, "RETRY_AT_MOST", 0.5)
    monkeypatch.setattr(buses, "NOT_READY_AFTER", 0.3)
    troubles: list[Trouble] = []
    opened = publishing.Publisher.open

    async def open_with_trouble(publisher: publishing.Publisher) -> None:
        troubles.append(Trouble(_Holder(publisher), answer))  # type: ignore[arg-type]
        await opened(publisher)

    monkeypatch.setattr(publishing.Publisher, "open", open_with_trouble)
    async with connected(nats_server.url) as bus, asyncio.TaskGroup() as tasks:

        async def publish_all() -> None:
            for number in range(COUNT):
                await bus.publish(batch(number))

        publishing_now = tasks.create_task(publish_all())
        while getattr(bus.publisher.counters, counter) == 0 or bus.problem() is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert bus.publisher.pending == publishing.MAX_MESSAGES
        assert "has not acknowledged" in (bus.problem() or "")
        assert not publishing_now.done()
        troubles[0].over.set()
        await publishing_now
        await bus.flush()
        assert bus.problem() is None
        found = await read(bus, COUNT)
        stored = (await bus.js.stream_info(subjects.RAW)).state.messages
    assert [int(i.payload) for i in found] == list(range(COUNT))
    assert stored == COUNT


class _Holder:
    def __init__(self, publisher: publishing.Publisher) -> None:
        self.publisher = publisher
