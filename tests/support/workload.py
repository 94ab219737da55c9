"""The demo's TLS server and the test's clients as processes, each with a log of what it did."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from demo import certificate
from tests.support import plans

ROOT = Path(__file__).parents[2]
_PROGRAMS = {
    "curl_http1": ["tests.e2e.apps.curl_client", "--http1.1"],
    "curl_http2": ["tests.e2e.apps.curl_client", "--http2"],
    "http_client": ["tests.e2e.apps.http_client"],
    "aiohttp": ["tests.e2e.apps.aiohttp_client"],
    "httpx_http2": ["tests.e2e.apps.httpx_client"],
    "http_client_holding": ["tests.e2e.apps.http_client", "--hold"],  # until it is killed
}
CLIENTS = ("curl_http1", "curl_http2", "http_client", "aiohttp", "httpx_http2")
SECONDS = 60


class Server(NamedTuple):
    process: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def exchanged(self) -> list[plans.Exchanged]:
        return plans.read_log(self.log)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    cert, key = certificate.make(folder)
    log = folder / "server.jsonl"
    log.touch()
    command = ["demo.server", "--certificate", cert, "--key", key, "--log", log]
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        yield Server(process, port, log)
    finally:
        process.terminate()
        process.wait(SECONDS)
        process.stdout.close()


class Client(NamedTuple):
    process: subprocess.Popen[bytes]
    log: Path

    def finished(self) -> list[plans.Exchanged]:
        """Waits for the client's end; what it sent and got."""
        assert self.process.wait(SECONDS) == 0
        return plans.read_log(self.log)

    def counted(self) -> int:
        """Plaintext bytes of its TLS calls, both ways, once it has sent its plans."""
        path = Path(f"{self.log}.bytes")
        deadline = time.monotonic() + SECONDS
        while not path.exists() or not path.read_text():
            assert time.monotonic() < deadline, "the client does not get to its end"
            time.sleep(0.02)
        return int(path.read_text())


def start_client(
    client: str, server: Server, folder: Path, *planned: list[plans.Planned]
) -> Client:
    """Each plan is one connection; several run at once."""
    name = planned[0][0].id
    log = folder / f"{name}.jsonl"
    log.touch()
    paths = [plans.write(folder / f"{name}-{n}.json", p) for n, p in enumerate(planned)]
    command = [sys.executable, "-m", *_PROGRAMS[client], str(server.port), str(log)]
    return Client(subprocess.Popen([*command, *map(str, paths)], cwd=ROOT), log)
