"""Builds of TLS libraries for C programs of the tests: the host's own OpenSSL and GnuTLS, and the
OpenSSL that wheels bundle.

Each is a copy in a folder of its own, so that probes on it see nobody else's calls, and by another
name, so that no other Plainwire on this machine takes it for a library and probes it, too. Wheels
come from PyPI by pip and are kept between runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.discovery import inventory
from services.discovery.code.probing import Returns
from services.discovery.files import Files
from services.discovery.processes import standing
from services.discovery.system import SystemLibraries
from services.messages import Target

SOURCES = Path(__file__).parents[1] / "e2e" / "apps" / "c"
WHEELS = {"1.1.1": "2.9.10", "3.5": "2.9.13"}  # psycopg2-binary's
_CACHE = Path(tempfile.gettempdir()) / "plainwire-test-wheels"


@dataclass(frozen=True)
class Build:
    folder: Path
    libssl: Path
    libraries: tuple[str, ...]  # what to link with

    def target(self, uretprobes: Returns = Returns.STILL) -> Target:
        reaches = standing(Files(uretprobes), [str(self.libssl)])
        (target,) = inventory.targets("here", 0, reaches, ()).targets
        return target

    def compile(self, name: str) -> Path:
        program = self.folder / name
        source = SOURCES / f"{name}.c"
        subprocess.run(
            ["gcc", "-O1", "-Wall", "-Werror", "-Wno-deprecated-declarations", "-o", program,
             source, *self.libraries, "-lpthread"],
            check=True, timeout=60,
        )  # fmt: skip
        return program

    def environment(self) -> dict[str, str]:
        return {**os.environ, "LD_LIBRARY_PATH": str(self.folder)}


def build(version: str, folder: Path) -> Build:
    """`host`, `gnutls` (the host's), `pretending` (a library of ours), or one of WHEELS. Skips the
    test without it."""
    folder.mkdir(exist_ok=True)
    if version == "host":
        return _host(folder, "libssl.so.3", ("-lssl", "-lcrypto"))
    if version == "gnutls":
        return _host(folder, "libgnutls.so.30", ("-lgnutls",))
    if version == "pretending":
        return _pretending(folder)
    with zipfile.ZipFile(_wheel(WHEELS[version])) as wheel:
        for name in wheel.namelist():
            base = name.rpartition("/")[2]
            if ".libs/" in name and base.startswith(("libssl-", "libcrypto-")):
                (folder / base).write_bytes(wheel.read(name))
    (libssl,), (libcrypto,) = folder.glob("libssl-*"), folder.glob("libcrypto-*")
    return Build(folder, _renamed(libssl), (str(libssl), str(libcrypto)))


def _host(folder: Path, soname: str, libraries: tuple[str, ...]) -> Build:
    found = [p for p in SystemLibraries().tls_paths() if f"/{soname}" in p]
    if not found:
        pytest.skip(f"no {soname} on this host")
    library = folder / soname
    shutil.copy(found[0], library)
    return Build(folder, _renamed(library), libraries)


def _pretending(folder: Path) -> Build:
    libssl = folder / "libssl.so.3"
    source = SOURCES / "pretending.c"
    options = ["-O1", "-fPIC", "-shared", "-Wl,-soname,libssl.so.3", "-Wl,-Bsymbolic"]
    subprocess.run(["gcc", *options, "-o", libssl, source], check=True, timeout=60)
    return Build(folder, _renamed(libssl), (str(libssl),))


def _renamed(libssl: Path) -> Path:
    """The linker follows the link, the process has the file mapped under its new name."""
    renamed = libssl.with_name("under-test.so")
    libssl.rename(renamed)
    libssl.symlink_to(renamed.name)
    return renamed


def _wheel(version: str) -> Path:
    found = list(_CACHE.glob(f"psycopg2_binary-{version}-*.whl"))
    if not found:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", _CACHE,
             "--only-binary=:all:", f"psycopg2-binary=={version}"],
            check=False, timeout=120,
        )  # fmt: skip
        found = list(_CACHE.glob(f"psycopg2_binary-{version}-*.whl"))
        if done.returncode or not found:
            pytest.skip(f"psycopg2-binary {version} can't be had from PyPI")
    return found[0]
