"""A real TLS server: HTTP/1.1 by h11 and HTTP/2 by h2, chosen by ALPN, on asyncio.

    python -m demo.server --certificate C --key K [--port N] [--log F]

Prints its URL once it listens. With `--log` it writes one JSON line for each exchange that it has
answered, whole bodies included: what really happened, to compare witnesses with.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import signal
import ssl
from typing import IO

from demo import http1, http2
from demo.answers import Answer, Request, answer


class Gathering:
    """Holds answers back until as many requests are there as each names with `?together=N`, so
    that a test can have N connections open at once."""

    def __init__(self) -> None:
        self._waiting = 0
        self._arrived = asyncio.Condition()

    async def wait(self, together: int) -> None:
        async with self._arrived:
            self._waiting += 1
            self._arrived.notify_all()
            await self._arrived.wait_for(lambda: self._waiting >= together)


class Service:
    """Answers requests of any version, and logs what it answered."""

    def __init__(self, log: IO[str] | None) -> None:
        self._log = log
        self._gathering = Gathering()

    async def respond(self, request: Request) -> Answer:
        if together := request.query("together"):
            await self._gathering.wait(int(together))
        return answer(request)

    def answered(self, connection: str, request: Request, reply: Answer) -> None:
        if self._log is None:
            return
        line = {
            "connection": connection,
            "id": request.header("x-request-id"),
            "method": request.method,
            "target": request.target,
            "request_headers": request.headers,
            "request_body": base64.b64encode(request.body).decode(),
            "status": reply.status,
            "response_headers": reply.headers,
            "response_body": base64.b64encode(reply.body).decode(),
        }
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        alpn = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        protocol = http2.serve if alpn == "h2" else http1.serve
        try:
            await protocol(self, reader, writer)
        except (ConnectionError, ssl.SSLError):
            pass  # the client left
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()


def context(certificate: str, key: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate, key)
    made.set_alpn_protocols(["h2", "http/1.1"])
    return made


async def listen(options: argparse.Namespace, log: IO[str] | None) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    server = await asyncio.start_server(
        Service(log).serve,
        "127.0.0.1",
        options.port,
        ssl=context(options.certificate, options.key),
        backlog=512,
    )
    print(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopping.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo.server")
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log")
    options = parser.parse_args()
    with contextlib.ExitStack() as files:
        log = files.enter_context(open(options.log, "a")) if options.log else None
        asyncio.run(listen(options, log))


if __name__ == "__main__":
    main()
