"""Works out what can be probed in TLS libraries, once per real file.

Knows files by what stat says of them; how they are opened and read safely is `opening`'s.
"""

from __future__ import annotations

import os
import stat

from services.discovery import libraries
from services.discovery.code import calls, elf, golang, sites
from services.discovery.code.elf import Elf, MalformedElf, Read
from services.discovery.code.image import FileImage
from services.discovery.code.probing import Returns
from services.discovery.inventory import Finding
from services.discovery.roots.opening import opened, opened_beside
from services.messages import FileIdentity, TlsFamily

MAX_CACHED = 4096

Key = tuple[int, int, int, int]


class Files:
    """Findings by (device, inode, size, mtime): a scan that meets known files costs a stat each."""

    def __init__(self, uretprobes: Returns = Returns.STILL) -> None:
        self._uretprobes = uretprobes
        self._found: dict[Key, Finding] = {}
        self.resolved = 0

    def find(self, path: str) -> Finding | None:
        """What the file at `path` holds; None where there is no regular file that can be read."""
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                return None
            found = self._found.get(_key(status))
            return found if found is not None else self._resolve(path)
        except (OSError, ValueError):
            return None

    def known(self, path: str) -> Finding | None:
        """What was found before in the file at `path`; nothing is opened."""
        try:
            return self._found.get(_key(os.stat(path)))
        except OSError:
            return None

    def _resolve(self, path: str) -> Finding | None:
        with opened(path) as (read, status):
            finding = _finding(read, status, os.path.dirname(path), self._uretprobes)
        while len(self._found) >= MAX_CACHED:
            self._found.pop(next(iter(self._found)))
        self._found[_key(status)] = finding
        self.resolved += 1
        return finding


def _key(status: os.stat_result) -> Key:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _finding(read: Read, status: os.stat_result, directory: str, uretprobes: Returns) -> Finding:
    key = _key(status)
    try:
        file = elf.parse(read)
        identity = _identity(key, elf.build_id(file))
        if (found := golang.choose(file)).library:
            return _of_go(identity, found)
        chosen = sites.choose(FileImage(file, calls.NAMES), uretprobes)
    except MalformedElf as problem:
        return Finding(identity=_identity(key, ""), reason=f"malformed ELF file: {problem}")
    return Finding(
        identity=identity,
        family=chosen.family,
        library=_library(file, directory, chosen.family) if chosen.family else "",
        sites=chosen.sites,
        omitted=chosen.omitted,
        reason="" if chosen.sites else _why_not(chosen),
    )


def _why_not(chosen: sites.Choice) -> str:
    for function, reason in chosen.omitted:
        return f"{function} can't be probed: {reason}"
    return "no symbols of a TLS library in it"


def _of_go(identity: FileIdentity, found: golang.Choice) -> Finding:
    return Finding(
        identity=identity,
        family="go",
        library=found.library,
        sites=found.sites,
        omitted=found.omitted,
        reason=found.reason,
    )


def _identity(key: Key, build_id: str) -> FileIdentity:
    device, inode, size, mtime_ns = key
    return FileIdentity(device=device, inode=inode, size=size, mtime_ns=mtime_ns, build_id=build_id)


def _library(file: Elf, directory: str, family: TlsFamily) -> str:
    """OpenSSL's version text is libcrypto's: in the file itself or in the library beside it. What
    has no name as a library is a program, and the library linked into it."""
    names = _dynamic(file)
    text = libraries.version(_read_only_data(file), family)
    beside = libraries.libcrypto(names.needed)
    if not text and beside:
        try:
            with opened_beside(directory, beside) as (read, _):
                text = libraries.version(_read_only_data(elf.parse(read)), family)
        except (OSError, MalformedElf):
            text = ""
    told = text or libraries.by_name(names.soname, family)
    return told if names.soname else f"{told} (static)"


def _dynamic(file: Elf) -> elf.Dynamic:
    try:
        return elf.dynamic(file)
    except MalformedElf:  # what can be probed can be probed without a name
        return elf.Dynamic()


def _read_only_data(file: Elf) -> bytes:
    try:
        return file.content(b".rodata")
    except MalformedElf:  # too much of it: the version stays unknown
        return b""
