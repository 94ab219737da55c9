"""nginx with TLS and the programs that load it: wrk for HTTP/1.1, h2load for HTTP/2.

Descendants of the bench process, so that capture's filter covers both ends. Knows no Plainwire.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo import certificate

CONNECTIONS = 16
TINY = '{"ok":true}'
_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location / {{ default_type application/json; return 200 '{tiny}'; }}
    location = /large {{ root {folder}; try_files /large.bin =404; }}
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """The port of a server that answers `/` with a tiny JSON and `/large` with 100 KiB."""
    cert, key = certificate.make(folder)
    (folder / "large.bin").write_bytes(b"x" * 102_400)
    folder.chmod(0o755)
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(folder=folder, port=port, certificate=cert, key=key, tiny=TINY)
    )
    server = subprocess.Popen(
        ["/usr/sbin/nginx", "-p", str(folder), "-c", str(config)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, server)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise RuntimeError("nginx did not start")


def wrk(port: int, seconds: float, path: str = "/") -> float:
    """HTTP/1.1 requests a second over keep-alive connections."""
    url = f"https://127.0.0.1:{port}{path}"
    out = _output(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", url])
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", out)[0])


def h2load(port: int, requests: int) -> None:
    url = f"https://127.0.0.1:{port}/"
    _output(["h2load", f"-n{requests}", f"-c{CONNECTIONS}", "-m8", "-t1", url])


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout
