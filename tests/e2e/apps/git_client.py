"""Clones from a smart HTTPS server, then asks it for its references: 23 requests, none by hand.

    python -m tests.e2e.apps.git_client PORT FOLDER

Each command has an id of its own, which git sends with every request of it.
"""

from __future__ import annotations

import os
import subprocess
import sys

CLONE, ASK = 3, 2  # requests of a clone and of an ls-remote, by git's protocol 2
ASKED = 10


def git(number: int, *words: str) -> None:
    options = (
        "http.sslVerify=false",
        "http.proxy=",
        f"http.extraHeader=x-request-id: git-{number:03}",
    )
    settings = [part for option in options for part in ("-c", option)]
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    subprocess.run(
        ["git", *settings, "-c", "protocol.version=2", *words],
        check=True, capture_output=True, env={**os.environ, **own},
    )  # fmt: skip


def main() -> None:
    port, folder = sys.argv[1:]
    url = f"https://127.0.0.1:{port}/things.git"
    git(0, "clone", "--quiet", url, f"{folder}/clone")
    for number in range(1, ASKED + 1):
        git(number, "ls-remote", url)


if __name__ == "__main__":
    main()
