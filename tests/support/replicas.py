"""Replicas of parse and collect as processes, to be killed, stopped and started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.workload import ROOT

STOP_SECONDS = 6


class Replicas:
    module = "services.cli.main"

    def __init__(self, url: str, folder: Path, shards: int, **settings: str) -> None:
        self._folder = folder
        self._environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PLAINWIRE_")},
            "PLAINWIRE_NATS_URL": url,
            "PLAINWIRE_NODE": "test-node",
            "PLAINWIRE_SHARDS": str(shards),
            **settings,
        }
        self.processes: dict[str, list[subprocess.Popen[bytes]]] = {}

    def start(self, service: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{service}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", self.module, service],
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes.setdefault(service, []).append(process)
        return process

    def kill(self, service: str, which: int = 0) -> None:
        process = self.processes[service].pop(which)
        process.kill()
        process.wait()

    def send(self, service: str, number: signal.Signals, which: int = 0) -> None:
        self.processes[service][which].send_signal(number)

    def terminate(self, service: str, which: int = 0) -> subprocess.Popen[bytes]:
        """Told to stop; the caller waits."""
        process = self.processes[service].pop(which)
        process.terminate()
        return process

    def check_alive(self) -> None:
        for service, processes in self.processes.items():
            for process in processes:
                if process.poll() is not None:
                    raise AssertionError(f"{service} ended by itself\n{self.log(service)}")

    def log(self, service: str) -> str:
        path = self._folder / f"{service}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        for processes in self.processes.values():
            for process in processes:
                process.kill()
                process.wait()


@contextmanager
def running(
    url: str, folder: Path, shards: int, module: str = Replicas.module, **settings: str
) -> Iterator[Replicas]:
    replicas = Replicas(url, folder, shards, **settings)
    replicas.module = module
    try:
        for service in ("parse", "collect"):
            replicas.start(service)
        yield replicas
    finally:
        replicas.close()
