"""hypercorn serving a small ASGI application and httpx asking it; each answer a line of JSON."""

from __future__ import annotations

import asyncio
import json
import socket
import sys

import httpx
from hypercorn.asyncio import serve
from hypercorn.config import Config


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    size = 0
    while True:
        event = await receive()
        size += len(event.get("body", b""))
        if not event.get("more_body"):
            break
    kind = b"text/event-stream" if scope["path"] == "/events" else b"text/plain"
    await send({"type": "http.response.start", "status": 201, "headers": [(b"content-type", kind)]})
    for number in range(5):
        body = b"data: %d of %d\n\n" % (number, size)
        await send({"type": "http.response.body", "body": body, "more_body": number < 4})


async def main(certificate: str, key: str, version: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = Config()
    config.bind, config.certfile, config.keyfile = [f"127.0.0.1:{port}"], certificate, key
    config.accesslog = config.errorlog = None
    stopping = asyncio.Event()
    server = asyncio.ensure_future(serve(application, config, shutdown_trigger=stopping.wait))
    async with httpx.AsyncClient(verify=False, http2=version == "2") as client:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                await asyncio.sleep(0.05)
        asked = [("GET", "/events", b"")]
        asked += [("POST", "/post", b"y" * size) for size in (70_000, 500, 9_000)]
        for method, path, body in asked:
            answer = await client.request(method, f"https://127.0.0.1:{port}{path}", content=body)
            protocol = answer.http_version.lower().replace("http/2", "http/2.0")
            protocol = protocol.replace("http/2.0.0", "http/2.0")
            row = [protocol, method, path, answer.status_code, len(answer.content)]
            sys.stdout.write(json.dumps(row) + "\n")
    stopping.set()
    await server


asyncio.run(main(*sys.argv[1:]))
