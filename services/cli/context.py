"""The file by which other terminals find the bus of a running `plainwire up`: 0600, in the format
of the NATS CLI's contexts (`nats --context FILE`), cleared by the next start."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.cli.embedded import Server
from services.cli.errors import Failure


@dataclass(frozen=True)
class Context:
    url: str
    token: str
    pid: int  # of the `plainwire up` that wrote it


def path(environ: Mapping[str, str]) -> Path:
    """PLAINWIRE_CONTEXT, else below /run for root and below XDG_RUNTIME_DIR for others."""
    if given := environ.get("PLAINWIRE_CONTEXT"):
        return Path(given)
    if os.geteuid() == 0:
        return Path("/run/plainwire/context.json")
    base = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return Path(base) / "plainwire" / "context.json"


def write(server: Server, environ: Mapping[str, str]) -> Path:
    file = path(environ)
    document = {
        "description": "plainwire up",
        "url": server.url,
        "token": server.token,
        "pid": os.getpid(),
    }
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump(document, stream)
        fresh.rename(file)
    except OSError as error:
        raise Failure(f"context file {file}: {error.strerror}; set PLAINWIRE_CONTEXT") from None
    return file


def read(environ: Mapping[str, str]) -> Context | None:
    """None where no `plainwire up` runs; what a killed one left behind does not count."""
    try:
        document = json.loads(path(environ).read_text())
        found = Context(str(document["url"]), str(document["token"]), int(document["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if os.path.isdir(f"/proc/{found.pid}") else None


def clear(environ: Mapping[str, str], *, of: int | None = None) -> None:
    """Removes what this process (`of`) wrote, or what a dead one left."""
    living = read(environ)
    if living is not None and living.pid != of:
        return
    file = path(environ)
    with contextlib.suppress(OSError):
        file.unlink()
    with contextlib.suppress(OSError):  # somebody else's files keep it
        file.parent.rmdir()
