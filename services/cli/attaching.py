"""When capturing has begun: discovery has said what to probe, and capture has probes on all of it.

Only what was said after `since_ns` counts: a shared bus still holds the last run's words.
"""

from __future__ import annotations

import asyncio

import msgspec

from services import subjects
from services.bus import Bus
from services.cli.errors import PLAINWIRE_FAILED, Failure
from services.messages import Coverage, Targets

WITHIN = 90.0  # seconds: compiling takes long on a busy machine

_targets = msgspec.json.Decoder(Targets)
_coverage = msgspec.json.Decoder(Coverage)


def missing(targets: Targets, coverage: Coverage) -> set[str]:
    """Names of targets that capture has neither attached nor given up."""
    attached = {target.identity for target in coverage.attached}
    failed = {file for file, _ in coverage.failed}
    return {
        target.name
        for target in targets.targets
        if target.identity not in attached
        and not failed & {target.name, target.path, target.identity.key()}
    }


class Attaching:
    """`wait` returns what is captured once it is; at most once."""

    def __init__(self, bus: Bus, node: str, since_ns: int) -> None:
        self._bus, self._node, self._since = bus, node, since_ns
        self._targets: Targets | None = None
        self._coverage: Coverage | None = None
        self._attached = asyncio.Event()

    async def wait(self) -> Coverage:
        """Raises Failure where it takes too long, or where nothing could be probed."""
        try:
            async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as tasks:
                followers = [
                    tasks.create_task(self._follow_targets(), name="targets"),
                    tasks.create_task(self._follow_coverage(), name="coverage"),
                ]
                await self._attached.wait()
                for follower in followers:
                    follower.cancel()
        except TimeoutError:
            raise Failure(self._why_not(), PLAINWIRE_FAILED) from None
        assert self._coverage is not None
        if self._coverage.failed and not self._coverage.attached:
            file, reason = self._coverage.failed[0]
            raise Failure(f"no probe on {file}: {reason}", PLAINWIRE_FAILED)
        return self._coverage

    async def _follow_targets(self) -> None:
        async for incoming in self._bus.latest(subjects.TARGETS, subjects.targets(self._node)):
            found = _targets.decode(incoming.payload)
            if found.time_ns >= self._since:
                self._targets = found
                self._look()

    async def _follow_coverage(self) -> None:
        async for incoming in self._bus.latest(subjects.COVERAGE, subjects.coverage(self._node)):
            found = _coverage.decode(incoming.payload)
            if found.time_ns >= self._since:
                self._coverage = found
                self._look()

    def _look(self) -> None:
        if self._targets and self._coverage and not missing(self._targets, self._coverage):
            self._attached.set()

    def _why_not(self) -> str:
        if self._targets is None:
            return f"discovery said nothing within {WITHIN:g} s; see `plainwire doctor`"
        if self._coverage is None:
            return f"capture said nothing within {WITHIN:g} s; see `plainwire doctor`"
        names = ", ".join(sorted(missing(self._targets, self._coverage)))
        return f"no probes on {names} within {WITHIN:g} s; see `plainwire doctor`"
