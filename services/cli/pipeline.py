"""The four services as four processes on this host, and how they live: started, told apart when
they die, started again with back-off, stopped together.

Knows processes and settings, nothing of what flows between them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.cli.errors import PLAINWIRE_FAILED, Failure, status_of
from services.cli.processes import Program, last_words, spawn
from services.cli.watch import Watch

# In the order of their start: capture compiles longest.
SERVICES = ("capture", "discovery", "parse", "collect")
STOP_WITHIN = 5.0
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.25, 15.0
_STEADY_AFTER = 30.0  # seconds of life that make the next back-off the first again
# Of the caller's PYTHON* these say where modules are; the others are meant for CMD's Python.
_KEPT = frozenset({"PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"})

Say = Callable[[str], None]


@dataclass
class Pipeline:
    """`environ` is the services' own: PLAINWIRE_* and where the package is."""

    directory: Path
    environ: Mapping[str, str]
    say: Say
    watch: Watch
    pids: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)

    def start(self, name: str, **settings: str) -> None:
        """`settings` are further PLAINWIRE_ variables, kept for its restarts."""
        self.environ = {**self.environ, **settings}
        argv = (sys.executable, "-m", "services.cli.main", name)
        self.pids[name] = spawn(Program(name, argv, self.environ, self._log(name)))
        self.watch.adopt(self.pids[name])

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    async def fail_if_one_ends(self) -> None:
        """While starting: the first service that ends is the reason why nothing works."""
        while True:
            for name, pid in self.pids.items():
                if self.watch.has_ended(pid):
                    text = self._obituary(name, await self.watch.ended(pid))
                    self._show_log(name)
                    raise Failure(f"{text}; see `plainwire doctor`", PLAINWIRE_FAILED)
            await self.watch.any_ended()

    async def keep_alive(self) -> None:
        """Once it works: what dies is started again."""
        async with asyncio.TaskGroup() as tasks:
            for name in self.pids:
                tasks.create_task(self._keep_alive(name), name=f"keep {name}")

    async def _keep_alive(self, name: str) -> None:
        loop, backoff = asyncio.get_running_loop(), _FIRST_BACKOFF
        while True:
            since = loop.time()
            status = await self.watch.ended(self.pids[name])
            if loop.time() - since > _STEADY_AFTER:
                backoff = _FIRST_BACKOFF
            self.say(f"{self._obituary(name, status)}; starting it again in {backoff:g} s")
            await asyncio.sleep(backoff)
            self.restarts[name] = self.restarts.get(name, 0) + 1
            self.start(name)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)

    def _obituary(self, name: str, wait_status: int) -> str:
        words = last_words(self._log(name)).removeprefix(f"plainwire {name}: ")
        if os.WIFSIGNALED(wait_status):
            return f"{name} was ended by {signal.Signals(os.WTERMSIG(wait_status)).name}"
        why = f": {words}" if words else f" with status {status_of(wait_status)}"
        return f"{name} ended{why}"

    def _show_log(self, name: str) -> None:
        """It is gone with the run directory; who debugs wants all of it."""
        if os.environ.get("PLAINWIRE_DEBUG"):
            for line in self._log(name).read_text(errors="replace").splitlines():
                self.say(f"{name}: {line}")

    async def stop(self) -> None:
        """SIGTERM drains; what has not ended in time is killed."""
        living = [pid for pid in self.pids.values() if not self.watch.has_ended(pid)]
        for pid in living:
            os.kill(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN):
                for pid in living:
                    await self.watch.ended(pid)
        except TimeoutError:
            for pid in living:
                if not self.watch.has_ended(pid):
                    os.kill(pid, signal.SIGKILL)
                    await self.watch.ended(pid)


def services_environ(environ: Mapping[str, str], **settings: str) -> dict[str, str]:
    """The caller's environment and our settings; modules are found where they were for us."""
    root = str(Path(__file__).parents[2])
    kept = {k: v for k, v in environ.items() if not k.startswith("PYTHON") or k in _KEPT}
    ours = {f"PLAINWIRE_{key.upper()}": value for key, value in settings.items()}
    # The caller's directory is never searched for modules: this runs as root.
    path = os.pathsep.join(part for part in (root, environ.get("PYTHONPATH")) if part)
    fixed = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    return {**kept, **ours, **fixed}
