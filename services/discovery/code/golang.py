"""Whether a file was built by Go, by which version, and where it speaks TLS.

crypto/tls, and forks of it that keep its functions, are found by Go's own table of functions. It is
believed only where the code bears it out: each function must begin with Go's stack check. Nothing
here opens a file.
"""

from __future__ import annotations

import re

from msgspec import Struct

from services.discovery.code import elf, gosites, pclntab
from services.discovery.code.disassembly import Body
from services.discovery.code.elf import AARCH64, X86_64, Elf
from services.discovery.code.gosites import PARTS, Function
from services.discovery.code.pclntab import Table
from services.messages import Site

STANDARD = "crypto/tls"
_MAGIC = b"\xff Go buildinf:"
_INFO = 32  # bytes; since Go 1.18 the version's length and text follow
_INLINE = 2  # of the flags at 15: they do
_VERSION = re.compile(rb"go1\.(\d{1,3})[\w.\-]{0,32}")
_OLDEST = 18
_TOO_OLD = "built by Go before 1.18, or by one whose table of functions is not known here"
_ALIGNED = 16
_MOST_PACKAGES = 16
_READ, _MARK = b"tls.(*Conn).Read", b".(*UConn)."

# Its TLS may carry our own raw batches: captured, each would make another.
_BUS = re.compile(rb"path\tgithub\.com/nats-io/nats-server(?:/v\d+)?\n")
_MAIN = 4096  # bytes of the build's description in which its main package is named

Omitted = tuple[str, str]


class Choice(Struct, frozen=True):
    """`library` is empty where the file has no Go code that speaks TLS."""

    library: str = ""
    sites: tuple[Site, ...] = ()
    omitted: tuple[Omitted, ...] = ()
    reason: str = ""


def choose(file: Elf) -> Choice:
    info = _build_info(file)
    if info is None:
        return Choice()
    version = _version(info)
    table = pclntab.find(file)
    minor = _VERSION.match(version)
    old = minor is not None and int(minor[1]) < _OLDEST
    library = f"go {STANDARD} {version.decode()}".rstrip()
    if isinstance(table, str) or old:
        return Choice(library, reason=_TOO_OLD) if _names_it(file) else Choice()
    packages = _packages(table)
    if not packages:
        return Choice()
    if _BUS.search(info):
        return Choice(library, reason="a nats-server: what it carries may be Plainwire's own")
    if file.machine not in (X86_64, AARCH64):
        return Choice(library, reason="neither x86-64 nor arm64 code")
    return _of_packages(file, table, packages, library)


def _names_it(file: Elf) -> bool:
    """Whether a table that is not read here has the name of what would be probed."""
    return any(f"{STANDARD}.(*Conn).Read\0".encode() in file.content(s) for s in pclntab.SECTIONS)


def _version(info: bytes) -> bytes:
    """Empty where the file does not tell it."""
    if len(info) <= _INFO or not info[len(_MAGIC) + 1] & _INLINE:
        return b""
    found = _VERSION.match(info[_INFO + 1 : _INFO + 1 + min(info[_INFO], 64)])
    return found[0] if found else b""


def _build_info(file: Elf) -> bytes | None:
    """None: not built by Go."""
    if (section := file.sections.get(b".go.buildinfo")) is not None:
        info = file.read(section.offset, min(section.size, _INFO + _MAIN))
        return info if info.startswith(_MAGIC) else None
    if file.sections:
        return None
    for segment in file.segments:
        if segment.writable and segment.size <= pclntab.MAX_SCANNED:
            data = file.read(segment.offset, segment.size)
            place = data.find(_MAGIC)
            if place >= 0 and (segment.address + place) % _ALIGNED == 0:
                return data[place : place + _INFO + _MAIN]
    return None


def _packages(table: Table) -> list[str]:
    """Import paths that end in tls and have a Conn that can be read: the standard one first."""
    suffix = len(_READ) - len(b"tls")
    found = {
        name[:-suffix].decode(errors="replace")
        for name in table.ending(_READ)
        if table.span(name) is not None
    }
    return sorted(found, key=lambda path: (path != STANDARD, path))[:_MOST_PACKAGES]


def _of_packages(file: Elf, table: Table, packages: list[str], library: str) -> Choice:
    sites: list[Site] = []
    omitted: list[Omitted] = []
    for package in packages:
        functions = _functions(file, table, package)
        if isinstance(functions, str):
            omitted.append((f"{package}.(*Conn)", functions))
            continue
        chosen, without = gosites.choose(file, functions)
        sites += chosen
        omitted += without
    reason = "" if sites else "; ".join(why for _, why in omitted[:1])
    return Choice(library, tuple(sites), tuple(omitted), reason)


def _functions(file: Elf, table: Table, package: str) -> list[Function] | str:
    spans = {
        part: span
        for part in PARTS
        if (span := table.span(f"{package}.(*Conn).{part.name}".encode())) is not None
    }
    if not gosites.BIRTHS & {part.name for part in spans}:
        return "no handshake by which its connections could be told apart"
    if package != STANDARD and table.ending(f"{package}.(*UConn).Write".encode()):
        return "a fork whose connections are written to by another type"
    reason = "its code can't be found"
    for text in pclntab.text_candidates(file, table):
        found = [
            Function(part, Body(f"{package}.(*Conn).{part.name}", text + s.begin, code))
            for part, s in spans.items()
            if (code := _code(file, text + s.begin, text + s.end))
        ]
        if len(found) == len(spans):
            reason = gosites.refusal(file.machine, found)
            if not reason:
                return found
    return reason


def _code(file: Elf, begin: int, end: int) -> bytes:
    if end - begin > elf.MAX_FUNCTION:
        return b""
    code = file.code(begin, end)
    return code if len(code) == end - begin else b""
