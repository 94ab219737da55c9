"""A smart HTTPS server for git: `git http-backend` behind Python's http.server.

    python -m tests.e2e.apps.git_server CERTIFICATE KEY FOLDER LOG

Serves the repositories in FOLDER, prints its port, and logs each exchange as demo.server does.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

CERTIFICATE, KEY, FOLDER, LOG = sys.argv[1:]
_lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self._body())

    def _body(self) -> bytes:
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _serve(self, body: bytes) -> None:
        head, _, answer = self._backend(body).partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().splitlines()]
        status = next((int(value.split()[0]) for name, value in fields if name == "Status"), 200)
        headers = [(name, value) for name, value in fields if name != "Status"]
        headers.append(("Content-Length", str(len(answer))))
        self._log(body, status, headers, answer)
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def _backend(self, body: bytes) -> bytes:
        url = urlsplit(self.path)
        variables = {
            "GIT_PROJECT_ROOT": FOLDER, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": url.path,
            "QUERY_STRING": url.query, "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""), "REMOTE_ADDR": "127.0.0.1",
        }  # fmt: skip
        environment = {**os.environ, **variables}
        command = ["git", "http-backend"]
        return subprocess.run(command, input=body, env=environment, stdout=-1, check=True).stdout

    def _log(self, body: bytes, status: int, headers: list[tuple[str, str]], answer: bytes) -> None:
        row = {
            "connection": str(self.client_address[1]),
            "id": self.headers.get("x-request-id"),
            "method": self.command,
            "target": self.path,
            "request_headers": self.headers.items(),
            "request_body": base64.b64encode(body).decode(),
            "status": status,
            "response_headers": headers,
            "response_body": base64.b64encode(answer).decode(),
        }
        with _lock, open(LOG, "a") as out:
            out.write(json.dumps(row) + "\n")

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
