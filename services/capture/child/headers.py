"""Kernel headers for bcc: the running kernel's, else any that lie under /usr/src.

The probes use only pt_regs and helpers, so headers of another version serve. Debian splits them
into `-common` and `-<arch>`; bcc wants one tree, so a tree of symlinks is made of the two.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

SOURCES = Path("/usr/src")
_DEBIAN = re.compile(r"linux-headers-(?P<version>.+?)-(?:cloud-|rt-)?(?:amd64|arm64)")
# What bcc's include paths name; the rest of a tree is never opened.
_ARCHES = {"x86_64": "x86", "aarch64": "arm64"}


class HeadersError(OSError):
    """One line with the mend."""


def find(environ: dict[str, str], private: Path) -> Path | None:
    """A tree to name in BCC_KERNEL_SOURCE; None where bcc finds the running kernel's itself."""
    if environ.get("BCC_KERNEL_SOURCE"):
        return Path(environ["BCC_KERNEL_SOURCE"])
    modules = Path("/lib/modules") / platform.release()
    if (modules / "build").exists() and (modules / "source").exists():
        return None
    if (modules / "build" / "include" / "linux").is_dir():
        return None
    pair = _newest_pair()
    if pair is None:
        raise HeadersError(
            "no kernel headers: install linux-headers-amd64, or name a tree in BCC_KERNEL_SOURCE"
        )
    return merge(*pair, into=private)


def _newest_pair() -> tuple[Path, Path] | None:
    found = []
    for specific in SOURCES.glob("linux-headers-*"):
        match = _DEBIAN.fullmatch(specific.name)
        common = SOURCES / f"linux-headers-{match['version']}-common" if match else None
        if common and common.is_dir():
            found.append((_version_key(specific.name), common, specific))
    return max(found)[1:] if found else None


def _version_key(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", name))


def merge(common: Path, specific: Path, into: Path) -> Path:
    """Directories in only one of the two become one symlink, so this is a handful of links."""
    arch = _ARCHES[platform.machine()]
    for part in ("include", f"arch/{arch}/include"):
        _overlay([common / part, specific / part], into / part)
    for name in (".config", ".kernelvariables", "Makefile"):
        for tree in (specific, common):
            if (tree / name).exists():
                (into / name).symlink_to(tree / name)
                break
    return into


def _overlay(layers: list[Path], into: Path) -> None:
    layers = [layer for layer in layers if layer.is_dir()]
    into.mkdir(parents=True)
    for name in sorted({entry for layer in layers for entry in os.listdir(layer)}):
        holders = [layer / name for layer in layers if (layer / name).exists()]
        directories = [path for path in holders if path.is_dir()]
        if len(directories) > 1:
            _overlay(directories, into / name)
        else:
            (into / name).symlink_to(holders[-1])
