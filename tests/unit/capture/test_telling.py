"""When coverage is said, and how large it may be. Time is the loop's own, told by the test."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import cast

import msgspec

from services.bus import Bus, Outgoing
from services.capture.parent import telling
from services.capture.parent.telling import Telling
from services.capture.settings import Settings
from services.messages import Coverage, CoverageEntry

SMALL = Coverage(node="n", time_ns=1, epoch=2, attached=(), processes=())
ENTRY = CoverageEntry(pid=1, process="app", state="captured")


class Sleepless(selectors.SelectSelector):
    """What would be waited for is over at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class FakeBus:
    max_payload = 10_000

    def __init__(self) -> None:
        self.told = list[tuple[float, Outgoing]]()

    async def publish(self, out: Outgoing) -> None:
        self.told.append((asyncio.get_running_loop().time(), out))


def run(body: Callable[[Telling], Coroutine[None, None, None]], said: Coverage) -> FakeBus:
    selector, bus = Sleepless(), FakeBus()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]

    async def main() -> None:
        it = Telling(cast("Bus", bus), Settings(node="n", coverage_seconds=30), lambda: said)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(it.run())
            await body(it)
            running.cancel()
        assert it.counters() == {"coverage_cut": len(bus.told) if said is not SMALL else 0}

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    return bus


def test_the_first_change_after_quiet_is_said_at_once_and_then_now_and_again() -> None:
    async def body(it: Telling) -> None:
        await asyncio.sleep(7)
        it.changed()
        await asyncio.sleep(70)

    assert [at for at, _ in run(body, SMALL).told] == [7.0, 37.0, 67.0]


def test_under_constant_change_it_is_said_a_few_times_a_second() -> None:
    async def body(it: Telling) -> None:
        for _ in range(10_000):
            it.changed()
            await asyncio.sleep(0.001)

    moments = [at for at, _ in run(body, SMALL).told]
    turns = 10 / telling.WITHIN
    assert turns <= len(moments) / telling.MOST <= turns * 1.1
    later = zip(moments, moments[telling.MOST :], strict=False)
    assert all(b - a >= telling.WITHIN - 1e-6 for a, b in later)


def test_the_last_change_is_said_too() -> None:
    async def body(it: Telling) -> None:
        for _ in range(2 * telling.MOST):
            it.changed()
            await asyncio.sleep(0.001)
        await asyncio.sleep(20)

    assert len(run(body, SMALL).told) == telling.MOST + 1


def test_what_is_said_fits_a_message() -> None:
    large = msgspec.structs.replace(SMALL, processes=(ENTRY,) * 1000)

    async def body(it: Telling) -> None:
        it.changed()
        await asyncio.sleep(1)

    ((_, out),) = run(body, large).told
    found = msgspec.json.decode(out.payload, type=Coverage)
    assert len(out.payload) <= FakeBus.max_payload
    assert len(found.processes) + found.untold_processes == 1000
