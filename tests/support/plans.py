"""What a client is to send, and what a client says that it got: the ground truth of e2e tests.

A plan is JSON, so that clients are separate programs. Ids are unique, in path, header and (where
there is room) body.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

KIB = 1024
PRIME = 23


class Planned(NamedTuple):
    id: str
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class Exchanged(NamedTuple):
    """As one of the two ends saw it; bodies are as they were sent, codings not undone."""

    id: str
    method: str
    target: str
    request_headers: list[tuple[str, str]]
    request_body: bytes
    status: int
    response_headers: list[tuple[str, str]]
    response_body: bytes
    connection: str = ""


def _filled(name: str, size: int) -> bytes:
    line = f"{name} ünïcode and plain; ".encode()
    return (line * (size // len(line) + 1))[:size]


def _planned(name: str, number: int, query: str) -> Planned:
    """Bodies of 0 B, 1 B, 16 KiB, 100 KiB and gzip, in turn."""
    headers = [("x-request-id", name), ("accept", "*/*")]
    text = [*headers, ("content-type", "text/plain")]
    match number % 5:
        case 0:
            return Planned(name, "GET", f"/hello/{name}?n={number}{query}", headers, b"")
        case 1:
            return Planned(name, "POST", f"/echo/{name}?n={number}{query}", text, b"x")
        case 2:
            body = _filled(name, 16 * KIB)
            return Planned(name, "PUT", f"/echo/{name}?n={number}{query}", text, body)
        case 3:
            body = _filled(name, 100 * KIB)
            return Planned(name, "POST", f"/echo/{name}?n={number}{query}", text, body)
        case _:
            body = gzip.compress(json.dumps({"id": name, "list": [*range(200)]}).encode(), mtime=0)
            kind = [*headers, ("content-type", "application/json"), ("content-encoding", "gzip")]
            return Planned(name, "POST", f"/echo/{name}?n={number}{query}", kind, body)


def plan(name: str, count: int = PRIME, query: str = "") -> list[Planned]:
    return [_planned(f"{name}-{number:03}", number, query) for number in range(count)]


def write(path: Path, planned: list[Planned]) -> Path:
    rows = [
        {
            "id": p.id,
            "method": p.method,
            "target": p.target,
            "headers": p.headers,
            "body": base64.b64encode(p.body).decode(),
        }
        for p in planned
    ]
    path.write_text(json.dumps(rows))
    return path


def read(path: str) -> list[Planned]:
    return [
        Planned(
            row["id"],
            row["method"],
            row["target"],
            [(k, v) for k, v in row["headers"]],
            base64.b64decode(row["body"]),
        )
        for row in json.loads(Path(path).read_text())
    ]


def read_log(path: Path) -> list[Exchanged]:
    """What demo.server, or a client, has logged so far."""
    found = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        for key in ("request_body", "response_body"):
            row[key] = base64.b64decode(row[key])
        for key in ("request_headers", "response_headers"):
            row[key] = [(name.lower(), value) for name, value in row[key]]
        found.append(Exchanged(**row))
    return found


def answered(
    planned: Planned, status: int, headers: list[tuple[str, str]], body: bytes, connection: str = ""
) -> str:
    """A client's log line."""
    row = {
        "id": planned.id,
        "method": planned.method,
        "target": planned.target,
        "request_headers": planned.headers,
        "request_body": base64.b64encode(planned.body).decode(),
        "status": status,
        "response_headers": headers,
        "response_body": base64.b64encode(body).decode(),
        "connection": connection,
    }
    return json.dumps(row) + "\n"


Send = Callable[[int, list[Planned]], Awaitable[list[str]]]


def send_all(send: Send) -> None:
    """What a client is: PORT LOG PLAN..., a connection a plan, all plans at once."""

    async def sent(port: int, paths: list[str]) -> list[str]:
        lines = await asyncio.gather(*(send(port, read(path)) for path in paths))
        return [line for of_plan in lines for line in of_plan]

    port, log, *paths = sys.argv[1:]
    with open(log, "a") as out:
        out.writelines(asyncio.run(sent(int(port), paths)))
