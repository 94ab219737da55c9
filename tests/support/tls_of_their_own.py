"""Programs whose TLS no probe reads, built once into ~/.cache/plainwire-tests, or the test that
wants one is skipped. Each makes 23 exchanges and says `done`; each further line makes one more.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo import certificate
from tests.support.programs import APPS
from tests.support.tools import CACHE, tool

SECONDS = 60
BUILD_SECONDS = 600


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def java(how: str, port: int) -> list[str]:
    """`url`: HttpsURLConnection, `http`: HttpClient."""
    compiler, source = tool("javac"), APPS / "java_client" / "Client.java"
    classes = CACHE / "java" / _digest(source)
    if not (classes / "Client.class").exists():
        subprocess.run([compiler, "-d", classes, source], check=True, timeout=SECONDS)
    return [tool("java"), "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", str(classes),
            "Client", how, str(port)]  # fmt: skip


def rustls(port: int) -> list[str]:
    return [str(_rust_client()), str(port)]


def _rust_client() -> Path:
    cargo, source = tool("cargo"), APPS / "rustls_client"
    digest = _digest(source / "Cargo.lock", source / "Cargo.toml", source / "src" / "main.rs")
    program = CACHE / "rustls" / digest / "rustls_client"
    if program.exists():
        return program
    target = CACHE / "rustls" / "target"
    done = subprocess.run(
        [cargo, "build", "--quiet", "--release", "--locked", "--target-dir", target],
        cwd=source, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"cargo can't build rustls: {done.stderr.strip().splitlines()[-1:]}")
    program.parent.mkdir(parents=True, exist_ok=True)
    unfinished = program.with_suffix(".unfinished")
    shutil.copy(target / "release" / "rustls_client", unfinished)
    return unfinished.replace(program)


def grpcio(folder: Path) -> list[str]:
    """It has libssl mapped, too, and never uses it."""
    pytest.importorskip("grpc")
    own = folder / "grpcio"
    own.mkdir(exist_ok=True)
    cert, key = certificate.make(own)
    return [sys.executable, str(APPS / "grpcio_pair.py"), str(cert), str(key)]


def records(where: str) -> list[str]:
    return [sys.executable, str(APPS / "record_writer.py"), where]


class Speaker:
    """One of these programs, while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self.pid = process, process.pid

    def heard(self) -> None:
        """Its exchanges are done, and it knows that they were right."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "done\n"

    def speak(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("more\n")
        self._process.stdin.flush()
        self.heard()

    def finish(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(SECONDS) == 0


@contextmanager
def speaking(command: list[str]) -> Iterator[Speaker]:
    """It has made its 23 exchanges; at the end it has made all of them."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        speaker = Speaker(process)
        try:
            speaker.heard()
            yield speaker
            speaker.finish()
        finally:
            process.kill()
