"""A Docker engine of the tests' own, with its data, its socket and its end, and an image for it.

Nothing is pulled: the image is this host's Python and curl with the libraries that they load.
Containers use the host's network.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.workload import ROOT

SECONDS = 60
IMAGE = "plainwire-test:1"
PYTHON = "/usr/bin/python3"


class Engine:
    def __init__(self, folder: Path, engine: subprocess.Popen[bytes]) -> None:
        self.folder, self.process = folder, engine
        self._names: list[str] = []

    def docker(self, *arguments: str, data: bytes | None = None) -> str:
        command = ["docker", "-H", f"unix://{self.folder}/sock", *arguments]
        done = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode().strip()

    def start(self, name: str, folder: Path, *command: str) -> str:
        """A container's id. It sees the clone and `folder` where they are."""
        self._names.append(name)
        mounts = [f"--volume={ROOT}:{ROOT}:ro", f"--volume={folder}:{folder}"]
        return self.docker(
            "run", "--detach", "--network=host", f"--name={name}", f"--workdir={ROOT}",
            *mounts, IMAGE, *command,
        )  # fmt: skip

    def remove(self) -> None:
        if self._names:
            self.docker("rm", "--force", *self._names)


@contextmanager
def running() -> Iterator[Engine]:
    if shutil.which("dockerd") is None:
        pytest.skip("needs dockerd: apt-get install docker.io")
    folder = Path(tempfile.mkdtemp(prefix="pw-docker-", dir="/var/tmp"))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(_daemon(folder), stdout=log, stderr=log)
    engine = Engine(folder, process)
    try:
        _wait(engine)
        engine.docker("import", "-", IMAGE, data=_image())
        yield engine
        engine.remove()
    finally:
        try:
            _end(process)
        finally:
            _clean(folder)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _daemon(folder: Path) -> list[str]:
    return [
        "dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/run",
        f"--pidfile={folder}/pid", f"--host=unix://{folder}/sock",
        "--iptables=false", "--ip6tables=false", "--bridge=none",
        f"--cgroup-parent=/{folder.name}",
    ]  # fmt: skip


def _wait(engine: Engine) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        log = (engine.folder / "log").read_text(errors="replace")
        assert engine.process.poll() is None, log
        assert time.monotonic() < deadline, log
        if (engine.folder / "sock").exists() and "API listen on" in log:
            return
        time.sleep(0.05)


def _clean(folder: Path) -> None:
    """What it mounted is gone with its containers, but for what a test's failure left."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in sorted((p for p in points if p.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False)
    cgroups = Path("/sys/fs/cgroup")
    for own in (*cgroups.glob(folder.name), *cgroups.glob(f"*/{folder.name}")):
        own.rmdir()
    shutil.rmtree(folder)


def _image() -> bytes:
    """A root file system as a tar archive."""
    packed = io.BytesIO()
    standard = Path(sysconfig.get_path("stdlib"))
    programs = [PYTHON, shutil.which("curl") or "curl"]
    extensions = [str(path) for path in (standard / "lib-dynload").glob("*.so")]
    files = {*programs, *_libraries([*programs, *extensions])}
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
        for path in sorted(files):
            archive.add(path)
        archive.add(standard, filter=_needed)
        for folder in ("tmp", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
    return packed.getvalue()


def _needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    left_out = ("/test", "/__pycache__", "/dist-packages", "/idlelib", "/config-")
    return None if any(part in f"/{entry.name}" for part in left_out) else entry


def _libraries(programs: list[str]) -> set[str]:
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    words = (word for line in said.splitlines() for word in line.split())
    return {
        os.path.normpath(word)
        for word in words
        if word.startswith("/") and ".so" in word and not word.endswith(":")
    }
