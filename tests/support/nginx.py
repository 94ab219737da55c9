"""nginx as a TLS server whose upstream is another TLS server, in a folder of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SECONDS = 20
_CONFIGURATION = """
daemon off; user root; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off; client_max_body_size 0; server_tokens off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream behind {{ server 127.0.0.1:{upstream}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate}; ssl_certificate_key {key};
        location / {{
            proxy_pass https://behind; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Host 127.0.0.1:{upstream};
        }}
    }}
}}
"""


@contextmanager
def proxying(folder: Path, upstream: int, certificate: tuple[Path, Path]) -> Iterator[int]:
    """Its port, once it listens."""
    executable = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin")
    if executable is None:
        pytest.skip("nginx is not installed")
    folder.mkdir()
    port = _free_port()
    (folder / "conf").write_text(
        _CONFIGURATION.format(
            folder=folder, upstream=upstream, port=port, certificate=certificate[0],
            key=certificate[1],
        )
    )  # fmt: skip
    process = subprocess.Popen([executable, "-p", folder, "-c", folder / "conf"])
    try:
        _wait_listening(process, port)
        yield port
    finally:
        process.terminate()
        process.wait(SECONDS)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _wait_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("nginx does not listen")
