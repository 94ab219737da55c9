"""A real nats-server with JetStream for one test, on loopback and a port of its own.

In a container where a Docker engine answers, else as a local process: the same server, the same
class, so tests can't tell. Knows nothing of Plainwire's streams.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

START_SECONDS = 15
_LISTENING = re.compile(r"Listening for client connections on \S*:(\d+)")


class Engine(Protocol):
    """Where the server runs. `start` gives a function that returns the log so far."""

    def start(self, arguments: list[str], store: Path) -> Callable[[], str]: ...

    def kill(self) -> None: ...

    def stop(self) -> None: ...


class LocalProcess:
    """The nats-server of this machine."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, arguments: list[str], store: Path) -> Callable[[], str]:
        log = store / "server.log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [executable(), *arguments], stdout=out, stderr=subprocess.STDOUT
            )
        return log.read_text

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None


def executable() -> str:
    """Debian installs servers where a user's PATH does not look."""
    found = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
    if found is None:
        raise FileNotFoundError("nats-server is not installed: scripts/setup")
    return found


class NatsServer(AbstractContextManager["NatsServer"]):
    """`url` stays the same over `kill` and `start`, and so does what the server stored in files."""

    def __init__(self, engine: Engine, store: Path, *options: str, jetstream: bool = True) -> None:
        self._engine = engine
        self._store = store
        self._options = (*(("-js", "-sd", str(store)) if jetstream else ()), *options)
        self.port = -1

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = ["-a", "127.0.0.1", "-p", str(self.port)]
        log = self._engine.start([*arguments, *self._options], self._store)
        deadline = time.monotonic() + START_SECONDS
        while "Server is ready" not in (text := log()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nats-server did not become ready:\n{text}")
            time.sleep(0.01)
        self.port = int(_LISTENING.findall(text)[-1])

    def kill(self) -> None:
        self._engine.kill()

    def stop(self) -> None:
        self._engine.stop()

    def __enter__(self) -> NatsServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.stop()
