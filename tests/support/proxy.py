"""nginx with TLS that logs what it served: the other end's word in differential tests."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from demo import certificate

LARGE = 30_000
_CONFIG = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  log_format story '$server_protocol $request_method $request_uri $status $body_bytes_sent';
  access_log {folder}/access.log story;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    location / {{ default_type application/json; return 200 '{{"ok":true}}'; }}
    location = /none {{ return 204; }}
    location = /missing {{ return 404; }}
    location = /large {{ root {folder}; try_files /large.bin =404; }}
    {more}
  }}
}}
"""


class Proxy(NamedTuple):
    port: int
    folder: Path
    certificate: Path
    key: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def served(self, count: int) -> list[tuple[str, str, str, int, int]]:
        """(protocol, method, path, status, body bytes) of each, once there are so many."""
        deadline = time.monotonic() + 10
        log = self.folder / "access.log"
        while len(lines := log.read_text().splitlines()) < count:
            assert time.monotonic() < deadline, f"{len(lines)} of {count}"
            time.sleep(0.02)
        rows = [line.split() for line in lines]
        return sorted((p.lower(), m, u, int(s), int(b)) for p, m, u, s, b in rows)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on {port}")


@contextmanager
def proxy(folder: Path, more: str = "") -> Iterator[Proxy]:
    cert, key = certificate.make(folder)
    (folder / "large.bin").write_bytes(b"large-" * (LARGE // 6))
    for parent in (folder, *folder.parents):
        if parent != Path("/") and parent != Path("/tmp"):
            parent.chmod(0o755)
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(folder=folder, port=port, certificate=cert, key=key, more=more)
    )
    server = subprocess.Popen(["/usr/sbin/nginx", "-p", str(folder), "-c", str(config)])
    try:
        wait_for(port)
        yield Proxy(port, folder, cert, key)
    finally:
        server.terminate()
        server.wait(10)
