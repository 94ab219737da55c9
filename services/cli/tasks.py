"""One piece of work with what must go on beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from services.cli.errors import Failure

T = TypeVar("T")


async def beside(work: Coroutine[None, None, T], *companions: Coroutine[None, None, None]) -> T:
    """The result of `work`. Companions are cancelled at its end; one that raises ends it."""
    try:
        async with asyncio.TaskGroup() as tasks:
            main = tasks.create_task(work)
            others = [tasks.create_task(companion) for companion in companions]
            await asyncio.wait([main])
            for other in others:
                other.cancel()
        return main.result()
    except BaseExceptionGroup as group:
        raise first(group) from group


async def race(*works: Coroutine[None, None, None], within: float | None) -> None:
    """Returns when the first of them does, or the time is over; the others are cancelled."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work) for work in works]
        await asyncio.wait(running, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            task.cancel()


def first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that has a line for the user, else the first there is."""
    leaves = list[BaseException]()
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        else:
            leaves.append(error)
    return next((leaf for leaf in leaves if isinstance(leaf, Failure)), leaves[0])
