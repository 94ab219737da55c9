"""A client that does what it is told, a line of stdin at a time, and says `ok PID` after each.

    python tests/e2e/apps/lives.py PORT LOG PLAN [NEXT]

load: import ssl, only now · connect: a new connection · send N: so many of the plan's requests ·
fork: a child goes on with all that there is · exec: begin anew in the same process
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__)))))

from tests.support import plans


def line() -> list[str]:
    """Byte by byte: what comes later is another program's, after exec or fork."""
    read = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        read += byte
    return read.decode().split()


def said() -> None:
    os.write(1, f"ok {os.getpid()}\n".encode())


class Client:
    def __init__(self, port: str, log: str, plan: str, sent: str = "0") -> None:
        self.port, self.log, self.path = port, log, plan
        self.planned, self.sent = plans.read(plan), int(sent)

    def load(self) -> None:
        import http.client
        import ssl

        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.new = lambda: http.client.HTTPSConnection(
            "127.0.0.1", int(self.port), context=context, timeout=60
        )

    def connect(self) -> None:
        self.connection = self.new()
        self.connection.connect()

    def send(self, count: str) -> None:
        for request in self.planned[self.sent : self.sent + int(count)]:
            headers = dict(request.headers)
            self.connection.request(request.method, request.target, request.body or None, headers)
            response = self.connection.getresponse()
            got = plans.answered(request, response.status, response.getheaders(), response.read())
            with open(self.log, "a") as out:
                out.write(got)
            self.sent += 1

    def fork(self) -> None:
        if child := os.fork():
            os.waitpid(child, 0)
            os._exit(0)

    def exec(self) -> None:
        said()
        program = [sys.executable, __file__, self.port, self.log, self.path, str(self.sent)]
        os.execv(sys.executable, program)


def main() -> None:
    client = Client(*sys.argv[1:])
    while words := line():
        getattr(client, words[0])(*words[1:])
        said()
    os._exit(0)


if __name__ == "__main__":
    main()
