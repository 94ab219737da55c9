"""Sends plans with curl: a process and a connection a plan, all plans at once.

    python -m tests.e2e.apps.curl_client --http1.1|--http2 PORT LOG PLAN...

curl itself writes what it got; this turns it into the log's lines.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import plans


def arguments(version: str, port: str, folder: Path, planned: list[plans.Planned]) -> list[str]:
    found = ["curl"]
    for number, request in enumerate(planned):
        found += ["--next"] if number else []
        found += ["--silent", "--show-error", "--insecure", "--noproxy", "*", version]
        found += ["--request", request.method]
        found += ["--output", str(folder / f"{number}.body")]
        found += ["--dump-header", str(folder / f"{number}.head")]
        for name, value in (*request.headers, ("expect", "")):
            found += ["--header", f"{name}: {value}" if value else f"{name}:"]
        if request.body:
            (folder / f"{number}.sent").write_bytes(request.body)
            found += ["--data-binary", f"@{folder / f'{number}.sent'}"]
        found.append(f"https://127.0.0.1:{port}{request.target}")
    return found


def line(folder: Path, number: int, request: plans.Planned) -> str:
    status, *headers = (folder / f"{number}.head").read_text().strip().split("\n")
    body = folder / f"{number}.body"
    pairs = [(name, value.strip()) for name, _, value in (h.partition(":") for h in headers)]
    found = body.read_bytes() if body.exists() else b""
    return plans.answered(request, int(status.split()[1]), pairs, found)


def main() -> int:
    version, port, log, *paths = sys.argv[1:]
    with tempfile.TemporaryDirectory() as top:
        running = []
        for number, path in enumerate(paths):
            folder = Path(top, str(number))
            folder.mkdir()
            planned = plans.read(path)
            running.append((folder, planned, subprocess.Popen(
                arguments(version, port, folder, planned)
            )))  # fmt: skip
        statuses = [process.wait() for _, _, process in running]
        with open(log, "a") as out:
            for folder, planned, _ in running:
                out.writelines(line(folder, n, request) for n, request in enumerate(planned))
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
