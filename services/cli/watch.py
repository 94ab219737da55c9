"""Signals and ended children as things to await. Signals are blocked and read from a descriptor,
which also tells who sent them: what a terminal sends reaches CMD by itself, a kill(1) doesn't."""

from __future__ import annotations

import asyncio
import signal
from types import TracebackType

from services import linux
from services.cli import processes

# What a caller may send to `plainwire` and means for CMD.
FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class Watch:
    """Blocks the signals at once, after the launcher was forked; used in the loop by `with`."""

    def __init__(self) -> None:
        watched = (*FORWARDED, signal.SIGCHLD)
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        self._descriptor = linux.signal_fd(watched)
        self._ours: set[int] = set()
        self._ended: dict[int, int] = {}
        self._changed = asyncio.Event()
        self.signals: asyncio.Queue[linux.Received] = asyncio.Queue()

    def __enter__(self) -> Watch:
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        self._reap()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)

    def _read(self) -> None:
        for received in linux.read_signals(self._descriptor):
            if received.number != signal.SIGCHLD:
                self.signals.put_nowait(received)
        self._reap()

    def _reap(self) -> None:
        """A subreaper also buries the orphans of others; only our own are remembered."""
        if ended := processes.reap():
            self._ended |= {pid: status for pid, status in ended.items() if pid in self._ours}
            self._changed.set()
            self._changed = asyncio.Event()

    def adopt(self, pid: int) -> None:
        """From now on this child's end is remembered."""
        self._ours.add(pid)
        self._ended.pop(pid, None)

    def has_ended(self, pid: int) -> bool:
        return pid in self._ended

    async def ended(self, pid: int) -> int:
        """The wait status of a child, once it has ended."""
        while pid not in self._ended:
            await self._changed.wait()
        return self._ended[pid]

    async def any_ended(self) -> None:
        """Returns when some child ends after the call."""
        await self._changed.wait()
