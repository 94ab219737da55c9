"""Sends plans with http.client: a connection a plan, one request after the other.

    python -m tests.e2e.apps.http_client [--hold] PORT LOG PLAN...    several plans: one thread each

Counts the plaintext bytes of its TLS calls in LOG.bytes. With --hold it then waits, connections
open, to be killed.
"""

from __future__ import annotations

import http.client
import signal
import ssl
import sys
import threading
from pathlib import Path

from tests.support import plans

_lock = threading.Lock()
_counted = 0


class CountingSocket(ssl.SSLSocket):
    """Every byte goes through these two, whatever else of a socket is called."""

    def send(self, data, flags=0):
        return _count(super().send(data, flags))

    def read(self, length=1024, buffer=None):
        got = super().read(length, buffer)
        _count(got if buffer is not None else len(got))
        return got


def _count(size: int) -> int:
    global _counted
    with _lock:
        _counted += size
    return size


def connect(port: int) -> http.client.HTTPSConnection:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.sslsocket_class = CountingSocket
    return http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)


def send(connection: http.client.HTTPSConnection, log: str, planned: list[plans.Planned]) -> None:
    lines = []
    for request in planned:
        connection.request(
            request.method, request.target, request.body or None, dict(request.headers)
        )
        response = connection.getresponse()
        body = response.read()
        lines.append(plans.answered(request, response.status, response.getheaders(), body))
    with _lock, open(log, "a") as out:
        out.writelines(lines)


def main() -> None:
    *options, port, log = sys.argv[1 : 1 + 2 + sys.argv.count("--hold")]
    paths = sys.argv[1 + 2 + len(options) :]
    connections = [connect(int(port)) for _ in paths]
    threads = [
        threading.Thread(target=send, args=(connection, log, plans.read(path)))
        for connection, path in zip(connections, paths, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Path(f"{log}.bytes").write_text(str(_counted))
    if options:
        signal.pause()
    for connection in connections:
        connection.close()


if __name__ == "__main__":
    main()
