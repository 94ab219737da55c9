"""The demo's workload: a TLS server and clients that know nothing of Plainwire.

    python -m demo.traffic FOLDER

FOLDER/sent gets the id of each request that was answered, a line each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo import certificate
from demo.clients import CLIENTS

CURLS = {"curl-h1": "--http1.1", "curl-h2": "--http2"}


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The server's URL, while it runs."""
    made, key = certificate.make(folder)
    command = [sys.executable, "-m", "demo.server", "--certificate", str(made), "--key", str(key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def curl(name: str, version: str, url: str) -> list[str]:
    """Five requests on one connection; their ids."""
    kinds = (
        ["/hello"],
        ["/echo/orders", "--data", '{"order": "pears"}'],
        ["/gzip", "--compressed"],
        ["/nothing", "--request", "DELETE"],
        ["/missing?token=hidden"],
    )
    command, ids = ["curl"], []
    for number, (path, *options) in enumerate(kinds, start=1):
        identity = f"{name}-{number}"
        ids.append(identity)
        command += ["--next"] if number > 1 else []
        command += ["--silent", "--show-error", "--insecure", "--noproxy", "*", version]
        command += ["--output", os.devnull]
        command += ["--header", f"x-request-id: {identity}", *options, url + path]
    subprocess.run(command, check=True)
    return ids


def main() -> None:
    folder = Path(sys.argv[1])
    sent = folder / "sent"
    with serving(folder) as url:
        for name, version in CURLS.items():
            ids = curl(name, version, url)
            with sent.open("a") as out:
                out.writelines(f"{identity}\n" for identity in ids)
        for name in CLIENTS:
            program = [sys.executable, "-m", "demo.clients", name, url, str(sent)]
            subprocess.run(program, check=True)


if __name__ == "__main__":
    main()
