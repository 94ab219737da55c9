"""The child is kept alive: one life after the other, ended where it hangs or is blind.

Knows no batches: who has begun a life, heard a word and lost a life is the host's business.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Protocol

from services.capture.channel import KernelError, Looked, Stop, ToParent
from services.capture.memory import Memory
from services.capture.parent.life import Life
from services.capture.parent.restarts import Restarts
from services.capture.parent.watching import Watch

SECOND_CHANCE = 1.0  # seconds: our own absence is not the child's
STOP_WITHIN = 2.0

log = logging.getLogger("plainwire.capture")


class Host(Protocol):
    """Whose child it is."""

    def began(self, life: Life, memory: Memory) -> None: ...
    def heard(self, message: ToParent) -> None: ...
    def lost(self, why: str) -> None: ...


class Supervisor:
    """`silence` is how many seconds the child may say nothing, or not see the canary."""

    def __init__(
        self, host: Host, start: Callable[[], Life], restarts: Restarts, silence: float
    ) -> None:
        self._host, self._start, self.restarts = host, start, restarts
        self._silence = silence
        self._life: Life | None = None
        self._stopping = asyncio.Event()
        self._reason = ""  # why we ended a life
        self.hangs = 0

    async def run(self, first: Life) -> None:
        """Until `stop`. Raises KernelError where the first life does not even begin."""
        life, known = first, False
        while True:
            begun = _now()
            try:
                known = await self._live(life) or known
            except KernelError as error:
                if not known:
                    raise
                log.warning("%s", error)
                why = str(error)
            else:
                if self._stopping.is_set():
                    return
                why = self._reason or _why(life.kill())
            self.hangs += bool(self._reason)
            pause = self.restarts.failed(_now(), _now() - begun)
            log.warning("the prober %s; starting it again in %g s", why, pause)
            self._host.lost(self._told(why))
            if await self._stopped_within(pause):
                return
            life = self._start()

    def _told(self, why: str) -> str:
        broken = f", {self.restarts.failures} times in a row" if self.restarts.broken else ""
        return f"the prober {why}{broken}"

    def stop(self) -> None:
        """The last look is heard; what does not answer is ended."""
        self._stopping.set()
        if self._life is not None:
            self._life.tell(Stop())

    async def _live(self, life: Life) -> bool:
        """Until it ends, hangs or is blind; it is dead then."""
        self._reason = ""
        try:
            memory = await life.load()
            await life.open()
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(life.listen(), name="listen")
                self._life = life
                self._host.began(life, memory)
                await self._attend(life)
                life.process.kill()
                await listening
        finally:
            self._life = None
            life.kill()
        return True

    async def _attend(self, life: Life) -> None:
        watch = Watch(_now(), self._silence)
        begun = _now()
        while (message := await self._next(life)) is not None:
            self._host.heard(message)
            if isinstance(message, Looked) and message.pulse is not None:
                if message.final:
                    return
                if watch.is_blind(message.pulse, _now()):
                    self._reason = "does not see its canary"
                    return
                if self.restarts.steady(_now() - begun):
                    log.warning("the prober lives for %.0f s: well again", _now() - begun)

    async def _next(self, life: Life) -> ToParent | None:
        for within in (self._silence, SECOND_CHANCE):
            try:
                return await life.hear(within)
            except TimeoutError:
                continue
        if not self._stopping.is_set():
            self._reason = f"has said nothing for {self._silence:g} s"
        return None

    async def _stopped_within(self, pause: float) -> bool:
        try:
            async with asyncio.timeout(pause):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()


def _why(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status << 8)}"
