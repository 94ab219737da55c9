"""A smart HTTPS server for git with a repository to be cloned, and its log of what it exchanged."""

from __future__ import annotations

import random
import string
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from demo import certificate
from tests.support import plans, workload
from tests.support.plans import Exchanged

COMMITS = 7
SECONDS = 60


class Server(NamedTuple):
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/things.git"

    def exchanged(self) -> list[Exchanged]:
        return plans.read_log(self.log)


def _repository(folder: Path) -> None:
    """Some commits of files that hardly compress, so that a clone is no small answer."""
    work = folder / "work"
    git = ["git", "-C", str(work), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run(["git", "init", "--quiet", str(work)], check=True)
    for number in range(COMMITS):
        lines = random.Random(number).choices(string.ascii_letters, k=20_000)
        (work / f"{number}.txt").write_text("\n".join(lines))
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", f"number {number}"], check=True)
    bare = str(folder / "things.git")
    subprocess.run(["git", "clone", "--quiet", "--bare", str(work), bare], check=True)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    served, log = folder / "served", folder / "server.jsonl"
    served.mkdir()
    log.touch()
    _repository(served)
    command = [*certificate.make(folder), served, log]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.apps.git_server", *map(str, command)],
        cwd=workload.ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()), log)
    finally:
        process.terminate()
        process.wait(SECONDS)
        process.stdout.close()
