"""Programs of other languages that send plans, each with its own way to do TLS, and what they need:
built or fetched once into ~/.cache/plainwire-tests, or the test that wants one is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.tools import CACHE, tool
from tests.support.workload import ROOT

APPS = ROOT / "tests" / "e2e" / "apps"
_SECONDS = 600


@dataclass(frozen=True)
class Program:
    """`command` gets PORT LOG PLAN. `file` is where its TLS code is, where that is no library of
    the system's; `waiting` then is a command that has it mapped until its stdin ends."""

    command: tuple[str, ...]
    tls: str  # what a witness says of its library, as a pattern
    process: str
    protocol: str = "http/1.1"
    file: Path | None = None
    waiting: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)


def node(how: str) -> Program:
    """The official build, which has OpenSSL linked into it; Debian's has not."""
    executable = Path(tool("node")).resolve()
    if (
        b"SSL_read"
        not in subprocess.run(
            ["nm", "-D", "--defined-only", executable], capture_output=True, check=True
        ).stdout
    ):
        pytest.skip("node is not the official build: it has no OpenSSL of its own")
    return Program(
        ("node", str(APPS / "plan.js"), how),
        r"openssl \d+\.\d+\.\d+\S* \(static\)",
        "node",
        "http/2" if how == "http2" else "http/1.1",
        executable,
        ("node", "-e", "process.stdin.resume()"),
    )


def scripted(interpreter: str, suffix: str) -> Program:
    command = (tool(interpreter), str(APPS / f"plan.{suffix}"))
    return Program(command, r"openssl \d+\.\d+\.\d+\S*", interpreter)


def wget() -> Program:
    tool("wget")
    command = (sys.executable, "-m", "tests.e2e.apps.wget_client")
    return Program(command, r"gnutls \d+\.\d+\.\d+", "wget")


def pycurl() -> Program:
    """Of its wheel, which brings a libssl whose name has a hash."""
    folder = _unpacked_wheel("pycurl", "7.49.0")
    (libssl,) = (folder / "pycurl.libs").glob("libssl-*.so.*")
    command = (sys.executable, "-m", "tests.e2e.apps.pycurl_client")
    return Program(
        command,
        r"openssl \d+\.\d+\.\d+\S*",
        "python",
        "http/2",
        libssl,
        waiting=(*command, "--wait"),
        environ={"PYTHONPATH": str(folder)},
    )


def prefixed(folder: Path) -> Program:
    """Python with the system's OpenSSL in a place of its own, as under /opt."""
    command = (sys.executable, "-m", "tests.e2e.apps.http_client")
    place = folder / "opt" / "x" / "lib"
    place.mkdir(parents=True)
    for name in ("libssl.so.3", "libcrypto.so.3"):
        found = list(Path("/usr/lib").glob(f"*/{name}"))
        if not found:
            pytest.skip(f"no {name} on this system")
        shutil.copy(found[0], place)
    return Program(
        command,
        r"openssl 3\.\d+\.\d+\S*",
        "python",
        file=place / "libssl.so.3",
        waiting=(sys.executable, "-c", "import ssl, sys; sys.stdin.read()"),
        environ={"LD_LIBRARY_PATH": str(place)},
    )


def native_tls(linkage: str) -> Program:
    """A Rust program with the crate native-tls: OpenSSL as a library, or linked in (`static`)."""
    executable = _rust(linkage)
    static = linkage == "static"
    return Program(
        (str(executable),),
        r"openssl \d+\.\d+\.\d+\S* \(static\)" if static else r"openssl \d+\.\d+\.\d+\S*",
        executable.name,
        file=executable if static else None,
        waiting=(str(executable), "--wait") if static else (),
    )


def _rust(linkage: str) -> Path:
    cargo, source = tool("cargo"), APPS / "native_tls"
    executable = CACHE / "native-tls" / f"plan-{linkage}"
    newest = max(path.stat().st_mtime for path in source.rglob("*") if path.is_file())
    if executable.exists() and executable.stat().st_mtime > newest:
        return executable
    target = CACHE / "native-tls" / "target"
    libraries = next(iter(Path("/usr/lib").glob("*/libssl.a")), Path("/usr/lib/libssl.a")).parent
    static = {
        "OPENSSL_STATIC": "1",
        "OPENSSL_LIB_DIR": str(libraries),
        "OPENSSL_INCLUDE_DIR": "/usr/include",
    }
    done = subprocess.run(
        [cargo, "build", "--quiet", "--release", "--locked", "--target-dir", target],
        cwd=source, env={**os.environ, **(static if linkage == "static" else {})},
        capture_output=True, text=True, check=False, timeout=_SECONDS,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"cargo can't build native-tls: {done.stderr.strip().splitlines()[-1:]}")
    unfinished = executable.with_name(f"{executable.name}.{os.getpid()}")
    shutil.copy(target / "release" / "plan", unfinished)
    return unfinished.replace(executable)


def _unpacked_wheel(name: str, version: str) -> Path:
    folder = CACHE / f"{name}-{version}-{sys.version_info.major}{sys.version_info.minor}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    wheels = CACHE / "wheels"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels,
         "--only-binary=:all:", f"{name}=={version}"],
        capture_output=True, check=False, timeout=_SECONDS,
    )  # fmt: skip
    found = list(wheels.glob(f"{name}-{version}-*.whl"))
    if done.returncode or not found:
        pytest.skip(f"{name} {version} can't be had from PyPI")
    whole = folder.with_name(f"{folder.name}.{os.getpid()}")
    with zipfile.ZipFile(found[0]) as wheel:
        wheel.extractall(whole)
    whole.rename(folder)
    return folder
