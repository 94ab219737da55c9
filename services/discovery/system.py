"""Where this host's dynamic linker looks for libraries: TLS code that nobody may use yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

from services.discovery import libraries

_CONFIGURATION = "/etc/ld.so.conf"
_ROOTS = ("/lib", "/usr/lib", "/usr/local/lib")
_SUFFIXES = ("", "64")
_MULTIARCH = ("x86_64-linux-gnu", "aarch64-linux-gnu")
_STAYING = (
    *("/", "/home", "/opt", "/root", "/srv", "/tmp", "/usr", "/usr/local"),
    *("/var", "/var/lib", "/var/tmp"),
)
_MAX_DIRECTORIES = 256
_MAX_ENTRIES = 1 << 16


class SystemLibraries:
    """A directory is listed again when it has changed."""

    def __init__(self) -> None:
        self._listed: dict[str, tuple[int, list[str]]] = {}
        self._full: set[str] = set()
        self.untold = 0  # directories that were too many, or had too many entries

    def tls_paths(self) -> list[str]:
        """Paths of the host's TLS libraries, links resolved, each once."""
        return self._paths(libraries.is_tls_library)

    def libcrypto_paths(self) -> list[str]:
        """Likewise."""
        return self._paths(libraries.is_libcrypto)

    def _paths(self, wanted: Callable[[str], bool]) -> list[str]:
        named = list(dict.fromkeys(os.path.realpath(d) for d in _directories()))
        directories = named[:_MAX_DIRECTORIES]
        listed = (path for directory in directories for path in self._in(directory))
        found = dict.fromkeys(os.path.realpath(path) for path in listed if wanted(path))
        full = self._full.intersection(directories)
        self.untold = len(named) - len(directories) + len(full)
        return [path for path in found if os.path.isfile(path)]

    def _in(self, directory: str) -> list[str]:
        try:
            changed = os.stat(directory).st_mtime_ns
            before, paths = self._listed.get(directory, (-1, []))
            if changed != before:
                names = _names(directory)
                self._full.discard(directory)
                if len(names) > _MAX_ENTRIES:
                    self._full.add(directory)
                paths = [f"{directory}/{n}" for n in names[:_MAX_ENTRIES] if _is_wanted(n)]
                self._listed[directory] = (changed, paths)
        except OSError:
            return []
        return paths


def stays(device: int) -> bool:
    """Whether files on it lie on a file system that is there for as long as the host runs."""
    return device in _staying()


@cache
def _staying() -> frozenset[int]:
    return frozenset(os.stat(path).st_dev for path in _STAYING if os.path.isdir(path))


def _directories() -> Iterator[str]:
    yield from (root + suffix for root, suffix in product(_ROOTS, _SUFFIXES))
    yield from (f"{root}/{triplet}" for root, triplet in product(_ROOTS, _MULTIARCH))
    yield from _configured(_CONFIGURATION, 0)


def _configured(path: str, depth: int) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(1 << 16).splitlines()
    except OSError:
        return
    for line in (text.partition("#")[0].strip() for text in lines):
        if line.startswith("/"):
            yield line
        elif line.startswith("include ") and depth == 0:
            for included in _included(line.removeprefix("include ").strip()):
                yield from _configured(included, depth + 1)


def _included(pattern: str) -> list[str]:
    """Only the form that distributions use is followed: a directory's *.conf."""
    directory = os.path.dirname(pattern)
    if not pattern.startswith("/") or os.path.basename(pattern) != "*.conf":
        return []
    try:
        return [f"{directory}/{n}" for n in sorted(os.listdir(directory)) if n.endswith(".conf")]
    except OSError:
        return []


def _names(directory: str) -> list[str]:
    """One more than are looked at, where there are more."""
    with os.scandir(directory) as entries:
        return sorted(e.name for e, _ in zip(entries, range(_MAX_ENTRIES + 1), strict=False))


def _is_wanted(name: str) -> bool:
    return libraries.is_tls_library(name) or libraries.is_libcrypto(name)
