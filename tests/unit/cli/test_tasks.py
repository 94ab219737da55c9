"""One piece of work with companions: who ends whom."""

from __future__ import annotations

import asyncio

import pytest

from services.cli.errors import Failure
from services.cli.tasks import beside, first, race


async def forever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise Failure("why")


async def answer() -> int:
    return 42


async def test_the_work_ends_its_companions() -> None:
    assert await beside(answer(), forever(), forever()) == 42


async def test_a_companion_that_fails_ends_the_work() -> None:
    with pytest.raises(Failure, match="why"):
        await beside(forever(), forever(), fail())


async def test_work_that_fails_ends_its_companions() -> None:
    with pytest.raises(Failure, match="why"):
        await beside(fail(), forever())


async def test_nested_work_fails_with_what_has_a_line_for_the_user() -> None:
    with pytest.raises(Failure, match="why"):
        await beside(beside(forever(), fail()), forever())


async def test_a_race_ends_with_the_first_or_with_the_time() -> None:
    async with asyncio.timeout(5):
        await race(forever(), asyncio.sleep(0), within=None)
        await race(forever(), within=0)


def test_the_failure_for_the_user_is_preferred() -> None:
    inner = ExceptionGroup("", [Failure("why")])
    assert str(first(ExceptionGroup("", [ValueError("x"), inner]))) == "why"
    assert str(first(ExceptionGroup("", [ValueError("x")]))) == "x"
