"""What happens while CMD lives, and in which order it ends: CMD, its descendants, the bytes that
are still on their way, the last witness, the services."""

from __future__ import annotations

import asyncio
import os

from services.cli import processes
from services.cli.errors import status_of
from services.cli.feed import Feed
from services.cli.host import Host
from services.cli.launcher import Launcher
from services.cli.observing import Observer
from services.cli.output import say
from services.cli.processes import Living
from services.cli.tasks import beside, race
from services.linux import Received

DESCENDANTS_GET = 5.0  # seconds after CMD's end


class Session:
    """From the moment that CMD runs."""

    def __init__(self, host: Host, observer: Observer, launcher: Launcher, feed: Feed) -> None:
        self._host, self._observer = host, observer
        self._launcher, self._feed = launcher, feed
        self._hurry = asyncio.Event()
        self.intact = True  # witnesses were read to their end

    async def follow(self) -> int:
        """CMD's exit status, once nothing of it is left to wait for and all is written."""
        return await beside(self._watch_cmd(), self._forward_signals())

    async def _watch_cmd(self) -> int:
        capturing = beside(
            self._until_all_is_read(),
            self._feed.run(),
            self._observer.missed.run(),
            self._host.pipeline.keep_alive(),
            self._host.fail_if_server_ends(),
        )
        try:
            await capturing
        except Exception as error:  # noqa: BLE001  CMD goes on, whatever happened to us
            self.intact = False
            say(f"nothing is captured from here on: {error}")
        return status_of(await self._host.watch.ended(self._launcher.pid))

    async def _until_all_is_read(self) -> None:
        await self._host.watch.ended(self._launcher.pid)
        await self._wait_for_descendants()
        await race(self._observer.drain(self._feed), self._hurried(), within=None)

    async def _wait_for_descendants(self) -> None:
        await race(self._descendants_end(), self._hurried(), within=DESCENDANTS_GET)
        if left := self._descendants():
            names = ", ".join(f"{process.name}[{process.pid}]" for process in left)
            say(f"left running, no longer captured: {names}")

    async def _descendants_end(self) -> None:
        """The last one is always our child: a subreaper gets whoever loses its parent."""
        while self._descendants():
            await self._host.watch.any_ended()

    async def _hurried(self) -> None:
        await self._hurry.wait()

    def _descendants(self) -> list[Living]:
        own = [*self._host.pipeline.pids.values()]
        if self._host.server:
            own.append(self._host.server.pid)
        return processes.descendants(processes.living(), os.getpid(), own)

    async def _forward_signals(self) -> None:
        """For ever. After CMD's end a signal means: don't wait."""
        while True:
            received = await self._host.watch.signals.get()
            if self._host.watch.has_ended(self._launcher.pid):
                self._hurry.set()
            elif self._is_for_cmd(received):
                os.kill(self._launcher.pid, received.number)

    def _is_for_cmd(self, received: Received) -> bool:
        """The terminal's signals reach CMD by themselves, and its own it has dealt with."""
        senders = {self._launcher.pid, *(process.pid for process in self._descendants())}
        return received.by_user and received.pid not in senders
