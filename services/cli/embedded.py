"""A nats-server of our own: loopback, a random port, a random token that is in no argv, JetStream
on the run directory's tmpfs. It lives as long as we do.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from services.cli.errors import PLAINWIRE_FAILED, Failure
from services.cli.processes import Program, last_words, spawn

_CONFIGURATION = """\
listen: "127.0.0.1:{port}"
server_name: "plainwire-{pid}"
ports_file_dir: "{directory}"
authorization {{ token: "{token}" }}
max_pending: 256MB
jetstream {{
  store_dir: "{directory}/jetstream"
  max_memory_store: 2GB
  max_file_store: 1GB
}}
"""
# Debian installs the server where a user's PATH does not look.
_MORE_PATH = "/usr/sbin:/usr/local/sbin:/sbin:/usr/local/bin"
_START_FOR = 5.0  # seconds


@dataclass(frozen=True)
class Server:
    pid: int
    url: str
    token: str
    token_file: Path
    log: Path


def find() -> str | None:
    return shutil.which("nats-server", path=f"{os.environ.get('PATH', os.defpath)}:{_MORE_PATH}")


def start(directory: Path) -> Server:
    """Returns once it listens. Raises Failure."""
    binary = find()
    if not binary:
        raise Failure("nats-server is not installed; apt-get install nats-server", PLAINWIRE_FAILED)
    token = secrets.token_urlsafe(24)
    token_file = _private(directory / "token", token)
    configuration = _private(
        directory / "nats.conf",
        _CONFIGURATION.format(port=-1, pid=os.getpid(), directory=directory, token=token),
    )
    log = directory / "nats-server.log"
    argv = (binary, "--config", str(configuration))
    pid = spawn(Program("nats-server", argv, os.environ, log))
    return Server(pid, _await_url(directory, pid, log), token, token_file, log)


def _private(path: Path, text: str) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return path


def _await_url(directory: Path, pid: int, log: Path) -> str:
    deadline = time.monotonic() + _START_FOR
    ports = directory / f"nats-server_{pid}.ports"
    while time.monotonic() < deadline:
        if (url := _read_url(ports)) is not None:
            return url
        if os.waitpid(pid, os.WNOHANG)[0]:
            raise Failure(f"nats-server ended: {last_words(log)}", PLAINWIRE_FAILED)
        time.sleep(0.002)  # it takes about 7 ms; the file appears without a word
    raise Failure(f"nats-server does not start: {last_words(log)}", PLAINWIRE_FAILED)


def _read_url(ports: Path) -> str | None:
    try:
        addresses = json.loads(ports.read_text())["nats"]
    except (OSError, ValueError, KeyError):  # not there yet, or half written
        return None
    return str(addresses[0]) if addresses else None
