"""Sites to compare with: the chosen ones with empty programs, and every peer's first byte."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from services.capture import syscalls
from services.discovery.code import elf
from services.discovery.scanning import Discovery
from services.discovery.settings import Settings
from services.messages import Site, Target, Targets

MAX_PAYLOAD = 1 << 20
_RETURN_ZERO = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
_TRANSFERS = {
    "SSL_read": ("read", "returns_length"),
    "SSL_write": ("write", "returns_length"),
    "SSL_read_ex": ("read", "length_pointer"),
    "SSL_write_ex": ("write", "length_pointer"),
}


def chosen(node: str) -> Targets:
    """What discovery says of this host now."""
    return Discovery(Settings(node=node), MAX_PAYLOAD).look()


def at_first_bytes(targets: Targets) -> Targets:
    """The same libraries, probed as others do: entry at the first byte, and a uretprobe."""
    moved = tuple(_at_first_bytes(t) for t in targets.targets)
    return msgspec.structs.replace(targets, targets=moved)


def _at_first_bytes(target: Target) -> Target:
    kept = [site for site in target.sites if site.operation not in ("read", "write")]
    data = Path(target.path).read_bytes()
    file = elf.parse(lambda offset, size: data[offset : offset + size])
    for name, symbol in elf.functions(file, _TRANSFERS).items():
        operation, abi = _TRANSFERS[name]
        for event, kind in (("enter", "uprobe"), ("exit", "uretprobe")):
            site = {
                "operation": operation, "event": event, "abi": abi, "function": name, "kind": kind,
                "address": symbol.address, "offset": file.file_offset(symbol.address),
                "cost": "single_step" if event == "enter" else "uretprobe",
            }  # fmt: skip
            kept.append(msgspec.convert(site, Site))
    return msgspec.structs.replace(target, sites=tuple(kept))


@contextmanager
def empty(targets: Targets) -> Iterator[None]:
    """The chosen sites of reads and writes, with programs that do nothing."""
    kind, attach = syscalls.PROG_KPROBE, syscalls.ATTACH_UPROBE_MULTI
    program = syscalls.load_program(kind, _RETURN_ZERO, attach, "empty")
    links = []
    for target in targets.targets:
        transfers = [s for s in target.sites if s.operation in ("read", "write")]
        for flags, sort in ((0, "uprobe"), (syscalls.UPROBE_MULTI_RETURN, "uretprobe")):
            if places := [(s.offset, 0) for s in transfers if s.kind == sort]:
                path = os.fsencode(target.path)
                links.append(syscalls.link_uprobes(program, path, places, flags))
    try:
        yield
    finally:
        for descriptor in (*links, program):
            os.close(descriptor)
