"""Sends plans with http.client: a connection a plan, one request after the other.

python -m tests.e2e.apps.http_client PORT LOG PLAN...      several plans: one thread each
"""

from __future__ import annotations

import http.client
import ssl
import sys
import threading

from tests.support import plans

_lock = threading.Lock()


def send(port: int, log: str, planned: list[plans.Planned]) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
    lines = []
    for request in planned:
        connection.request(
            request.method, request.target, request.body or None, dict(request.headers)
        )
        response = connection.getresponse()
        name = str(connection.sock.getsockname()[1]) if connection.sock else ""
        body = response.read()
        lines.append(plans.answered(request, response.status, response.getheaders(), body, name))
    connection.close()
    with _lock, open(log, "a") as out:
        out.writelines(lines)


def main() -> None:
    port, log, *paths = sys.argv[1:]
    threads = [
        threading.Thread(target=send, args=(int(port), log, plans.read(path))) for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
