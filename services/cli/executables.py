"""What a command resolves to, without running any of it: PATH, the chain of #!, the ELF file at its
end and the shared libraries that this one names.

Libraries are found as ld.so finds them (RPATH, LD_LIBRARY_PATH, RUNPATH, the cache, the default
directories), near enough to know which TLS library a command will load.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.cli.errors import CANNOT_EXECUTE, NOT_FOUND, Failure
from services.discovery.code import elf
from services.discovery.code.elf import MalformedElf
from services.discovery.roots.opening import opened

_MAX_INTERPRETERS = 5  # BINPRM's own limit on nested #! lines
_MAX_LIBRARIES = 512
_TLS_NAMES = ("ssl", "gnutls")
_DEFAULT_DIRECTORIES = ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib")


def find(name: str, environ: Mapping[str, str]) -> str:
    """The path that exec gets. Raises Failure with 127 or 126, as a shell ends."""
    if "/" in name:
        return _checked(name, name)
    directories = environ.get("PATH", os.defpath).split(os.pathsep)
    candidates = [os.path.join(directory or ".", name) for directory in directories]
    for candidate in candidates:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    for candidate in candidates:
        if os.path.isfile(candidate):
            return _checked(candidate, name)
    raise Failure(f"{name}: command not found; is it installed, and in PATH?", NOT_FOUND)


def _checked(path: str, name: str) -> str:
    if not os.path.exists(path):
        raise Failure(f"{name}: no such file", NOT_FOUND)
    if os.path.isdir(path):
        raise Failure(f"{name}: is a directory, not a command", CANNOT_EXECUTE)
    if not os.access(path, os.X_OK):
        raise Failure(f"{name}: is not executable; chmod +x {path}", CANNOT_EXECUTE)
    return path


def interpreters(path: str, environ: Mapping[str, str]) -> Iterator[str]:
    """The file itself and what its #! line leads to, the ELF file last."""
    for _ in range(_MAX_INTERPRETERS):
        yield path
        words = _shebang(path)
        if not words:
            return
        if os.path.basename(words[0]) == "env":
            yield words[0]
            path = _through_env(words[1:], environ)
        else:
            path = words[0]
        if not os.path.isfile(path):
            return


def _shebang(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            line = file.read(256).split(b"\n", 1)[0]
    except OSError:
        return []
    return os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []


def _through_env(words: Sequence[str], environ: Mapping[str, str]) -> str:
    """`env -S VAR=x python3 -u` -> the python3 of PATH; options of env are skipped."""
    for word in words:
        if not word.startswith("-") and "=" not in word:
            return shutil.which(word, path=environ.get("PATH", os.defpath)) or ""
    return ""


@dataclass(frozen=True)
class _Dynamic:
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]


def tls_files(path: str, environ: Mapping[str, str]) -> list[str]:
    """Files that may hold the TLS code of `path`: executables of its #! chain, and what of their
    libraries is called like a TLS library."""
    cache, found = _Cache(), dict[str, None]()
    for executable in interpreters(path, environ):
        if _dynamic(executable) is None:
            continue
        found[os.path.realpath(executable)] = None
        for library in _closure(executable, environ, cache):
            if any(name in os.path.basename(library) for name in _TLS_NAMES):
                found[os.path.realpath(library)] = None
    return list(found)


def _closure(executable: str, environ: Mapping[str, str], cache: _Cache) -> list[str]:
    seen, waiting = dict[str, None](), [executable]
    preferred = [d for d in environ.get("LD_LIBRARY_PATH", "").split(":") if d]
    while waiting and len(seen) < _MAX_LIBRARIES:
        current = waiting.pop()
        dynamic = _dynamic(current)
        if dynamic is None:
            continue
        first = () if dynamic.runpath else dynamic.rpath
        directories = [*first, *preferred, *dynamic.runpath]
        for name in dynamic.needed:
            library = _library(name, directories, cache)
            if library and library not in seen:
                seen[library] = None
                waiting.append(library)
    return list(seen)


def _library(name: str, directories: Sequence[str], cache: _Cache) -> str | None:
    if "/" in name:
        return name if os.path.isfile(name) else None
    for directory in directories:
        if os.path.isfile(candidate := os.path.join(directory, name)):
            return candidate
    if cached := cache.get(name):
        return cached
    for directory in _DEFAULT_DIRECTORIES:
        if os.path.isfile(candidate := os.path.join(directory, name)):
            return candidate
    return None


class _Cache:
    """`ldconfig -p`: library names to paths, the first one wins as in ld.so; read once, on need."""

    def __init__(self) -> None:
        self._paths: dict[str, str] | None = None

    def get(self, name: str) -> str | None:
        if self._paths is None:
            self._paths = _read_cache()
        return self._paths.get(name)


def _read_cache() -> dict[str, str]:
    binary = shutil.which("ldconfig", path="/sbin:/usr/sbin:/bin:/usr/bin")
    if not binary:
        return {}
    listing = subprocess.run([binary, "-p"], capture_output=True, text=True, check=False)
    paths = dict[str, str]()
    for line in listing.stdout.splitlines()[1:]:
        name, _, path = line.strip().partition(" => ")
        paths.setdefault(name.partition(" ")[0], path)
    return paths


def _dynamic(path: str) -> _Dynamic | None:
    """None where the file is no ELF file that can be probed."""
    try:
        with opened(path) as (read, _):
            found = elf.dynamic(elf.parse(read))
    except (OSError, MalformedElf):
        return None
    origin = str(Path(path).resolve().parent)
    return _Dynamic(found.needed, _split(found.rpath, origin), _split(found.runpath, origin))


def _split(paths: str, origin: str) -> tuple[str, ...]:
    whole = paths.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
    return tuple(part for part in whole.split(":") if part)
