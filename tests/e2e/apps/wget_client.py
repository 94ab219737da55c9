"""Sends a plan with wget, a process and a connection a request.

    python -m tests.e2e.apps.wget_client PORT LOG PLAN

wget itself writes what it got; this turns it into lines of JSON: id, status, body.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import plans


def answered(port: str, folder: Path, planned: plans.Planned) -> bytes:
    """Head and body, as wget saved them."""
    command = ["wget", "--quiet", "--no-config", "--no-proxy", "--no-check-certificate"]
    command += ["--tries=1", "--save-headers", f"--output-document={folder / 'got'}"]
    command += [f"--method={planned.method}"]
    command += [f"--header={name}: {value}" for name, value in planned.headers]
    if planned.body:
        (folder / "sent").write_bytes(planned.body)
        command.append(f"--body-file={folder / 'sent'}")
    subprocess.run([*command, f"https://127.0.0.1:{port}{planned.target}"], check=True)
    return (folder / "got").read_bytes()


def main() -> None:
    port, log, path = sys.argv[1:]
    with tempfile.TemporaryDirectory() as top, open(log, "a") as out:
        for planned in plans.read(path):
            head, _, body = answered(port, Path(top), planned).partition(b"\r\n\r\n")
            row = [planned.id, int(head.split()[1]), base64.b64encode(body).decode()]
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
