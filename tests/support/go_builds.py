"""Go programs of the tests, built by several versions of Go in several ways.

Version 1.19 is Debian's, unpacked and not installed; others the machine's `go` fetches. Toolchains
and programs are kept between runs, by what they are made of.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.tools import CACHE, tool

_PROGRAMS = CACHE / "go"
DEBIAN = "1.19"
TRUTH = Path(__file__).parents[1] / "e2e" / "apps" / "go_truth"
SECONDS = 600


class Build(NamedTuple):
    """A version of Go, and how it is told to build."""

    version: str
    flags: tuple[str, ...] = ()
    cgo: bool = False

    @property
    def name(self) -> str:
        words = [self.version, *(flag.strip("-").replace("=", "-") for flag in self.flags)]
        return "_".join(words + ["cgo"] * self.cgo).replace(" ", "")


OLDEST = Build(DEBIAN)
NEWEST = Build("1.27.3")
_STRIPPED, _PIE = "-ldflags=-s -w", "-buildmode=pie"
BUILDS = (
    OLDEST,
    Build(DEBIAN, (_STRIPPED, _PIE, "-trimpath")),
    Build("1.21.13", (_STRIPPED,)),
    NEWEST,
    Build("1.27.3", (_STRIPPED, _PIE, "-trimpath")),
    Build("1.27.3", (_STRIPPED + " -linkmode=external", _PIE), cgo=True),
)


def built(source: Path, build: Build) -> Path:
    """The program; skips the test where the machine can't have that toolchain."""
    parts = [path.read_bytes() for path in sorted(source.iterdir()) if path.is_file()]
    key = hashlib.sha256(b"\0".join([build.name.encode(), *parts])).hexdigest()[:16]
    program = _PROGRAMS / f"{source.name}-{key}"
    with _alone("build"):
        if not program.exists():
            _compile(source, build, program)
    return program


def _compile(source: Path, build: Build, program: Path) -> None:
    go, environment = _toolchain(build.version)
    if build.cgo:
        tool("gcc")
    environment |= {"CGO_ENABLED": str(int(build.cgo)), "GOFLAGS": "-buildvcs=false"}
    made = program.with_suffix(".new")
    command = ["nice", go, "build", *build.flags, "-o", str(made), "."]
    done = subprocess.run(
        command, cwd=source, env=os.environ | environment, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    if done.returncode and "download" in done.stderr:
        pytest.skip(f"Go {build.version} can't be fetched: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    made.rename(program)


def _toolchain(version: str) -> tuple[str, dict[str, str]]:
    if version == DEBIAN:
        root = _of_debian()
        return str(root / "bin" / "go"), {"GOROOT": str(root), "GOTOOLCHAIN": "local"}
    return tool("go"), {"GOTOOLCHAIN": f"go{version}"}


def _of_debian() -> Path:
    """Its packages are only unpacked."""
    place = _PROGRAMS / f"debian-{DEBIAN}"
    root = place / "usr" / "lib" / f"go-{DEBIAN}"
    if root.exists():
        return root
    names = [f"golang-{DEBIAN}-go", f"golang-{DEBIAN}-src"]
    with tempfile.TemporaryDirectory(dir=_PROGRAMS) as folder:
        fetched = subprocess.run(
            ["apt-get", "-q", "-q", "download", *names], cwd=folder, check=False, timeout=SECONDS,
            capture_output=True,
        )  # fmt: skip
        packages = list(Path(folder).glob("*.deb"))
        if fetched.returncode or len(packages) != len(names):
            pytest.skip(f"Debian's Go {DEBIAN} can't be fetched")
        for package in packages:
            command = ["dpkg", "-x", str(package), f"{folder}/root"]
            subprocess.run(command, check=True, timeout=SECONDS)
        (Path(folder) / "root").rename(place)
    return root


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Runs of the tests may meet here."""
    _PROGRAMS.mkdir(parents=True, exist_ok=True)
    with (_PROGRAMS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
