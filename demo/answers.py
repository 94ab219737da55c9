"""What the demo's server says to a request. Knows no sockets and no protocol version."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

Headers = list[tuple[str, str]]


class Request(NamedTuple):
    method: str
    target: str  # path and query, as sent
    headers: Headers
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    def query(self, name: str) -> str:
        return parse_qs(urlsplit(self.target).query).get(name, [""])[0]

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes


def answer(request: Request) -> Answer:
    """Every answer carries the request's `x-request-id`."""
    first = request.path.strip("/").split("/")[0]
    status, headers, body = _ANSWERS.get(first, _not_found)(request)
    return Answer(status, [*headers, ("x-request-id", request.header("x-request-id"))], body)


def _echo(request: Request) -> Answer:
    """The request's body with its content type and coding, status 201 for a POST."""
    kind = request.header("content-type") or "application/octet-stream"
    headers = [("content-type", kind)]
    if coding := request.header("content-encoding"):
        headers.append(("content-encoding", coding))
    return Answer(201 if request.method == "POST" else 200, headers, request.body)


def _hello(request: Request) -> Answer:
    return _json(200, {"hello": request.path, "method": request.method})


def _gzip(request: Request) -> Answer:
    status, headers, body = _hello(request)
    return Answer(status, [*headers, ("content-encoding", "gzip")], gzip.compress(body, mtime=0))


def _nothing(request: Request) -> Answer:
    return Answer(204, [], b"")


def _not_found(request: Request) -> Answer:
    return _json(404, {"error": "nothing here", "path": request.path})


def _json(status: int, value: dict[str, str]) -> Answer:
    return Answer(status, [("content-type", "application/json")], json.dumps(value).encode())


_ANSWERS: dict[str, Callable[[Request], Answer]] = {
    "echo": _echo,
    "hello": _hello,
    "gzip": _gzip,
    "nothing": _nothing,
}
