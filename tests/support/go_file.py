"""Makes small files as Go's linker does: functions, its table of them, runtime.moduledata and the
build's description. The functions are real ones.

`python -m tests.support.go_file PROGRAM > tests/corpus/go/VERSION.json` records those of crypto/tls
in a Go program on this machine.
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

from services.discovery.code import elf, pclntab
from services.discovery.code.gosites import PARTS

CORPUS = Path(__file__).parents[1] / "corpus" / "go"
VERSIONS = ("go1.19.8", "go1.21.13", "go1.26.8", "go1.27.3")
PACKAGE = "crypto/tls"
MAGICS = {"go1.19.8": 0xFFFFFFF0}
_PAGE = 0x1000
_BEHIND = 0x100  # what an external linker puts before runtime.text
BASE = 0x400000


def recorded(name: str) -> tuple[int, dict[str, bytes]]:
    """The machine, and the code of the methods of Conn by their names."""
    found = json.loads((CORPUS / f"{name}.json").read_text())
    return found["machine"], {part: bytes.fromhex(code) for part, code in found["code"].items()}


@dataclass
class GoFile:
    functions: dict[str, bytes]
    machine: int = elf.X86_64
    told: str = "go1.26.8"
    main: str = "example.com/service"
    magic: int = 0xFFFFFFF1
    text_in_table: bool = False  # Go 1.25 and older
    module: bool = True
    sections: bool = True
    before_text: int = 0
    addresses: dict[str, int] = field(default_factory=dict)

    def content(self) -> bytes:
        code, table = self._code(), b""
        text = BASE + _PAGE + self.before_text
        table = self._table(text)
        table_at = _PAGE + len(code) + -len(code) % _PAGE
        data_at = table_at + len(table) + -len(table) % _PAGE
        data = self._data(text, BASE + table_at, len(code) - self.before_text)
        file = bytearray(data_at + len(data))
        file[_PAGE : _PAGE + len(code)] = code
        file[table_at : table_at + len(table)] = table
        file[data_at:] = data
        parts = [(5, _PAGE, len(code)), (4, table_at, len(table)), (6, data_at, len(data))]
        rows = [
            struct.pack("<IIQQQQQQ", 1, flags, at, BASE + at, BASE + at, size, size, _PAGE)
            for flags, at, size in parts
        ]
        named = [(b".text", _PAGE, len(code)), (b".gopclntab", table_at, len(table)),
                 (b".go.buildinfo", data_at, _PAGE)]  # fmt: skip
        tail = self._sections(len(file), named) if self.sections else b""
        head = self._head(len(rows), len(file) if self.sections else 0, len(named) + 2)
        file[: len(head)] = head
        file[64 : 64 + 56 * len(rows)] = b"".join(rows)
        return bytes(file) + tail

    def _code(self) -> bytes:
        code = bytearray(self.before_text)
        for name, body in self.functions.items():
            self.addresses[name] = BASE + _PAGE + len(code)
            code += body + b"\xcc" * (-len(body) % 32)
        return bytes(code)

    def _table(self, text: int) -> bytes:
        names, entries, rows = bytearray(b"\0"), b"", b""
        size = 8 * len(self.functions) + 4
        for name, address in self.addresses.items():
            entries += struct.pack("<II", address - text, size + len(rows))
            rows += struct.pack("<II24x", address - text, len(names))
            names += name.encode() + b"\0"
        last = max(self.addresses, key=lambda name: self.addresses[name])
        end = self.addresses[last] + len(self.functions[last]) - text
        entries += struct.pack("<I", end)
        at = 72
        offsets = [at, at + len(names), at + len(names), at + len(names), at + len(names)]
        quantum = 1 if self.machine == elf.X86_64 else 4
        head = struct.pack("<IHBB", self.magic, 0, quantum, 8)
        told = text if self.text_in_table else 0
        return (
            head
            + struct.pack("<8Q", len(self.functions), 1, told, *offsets)
            + names
            + entries
            + rows
        )

    def _data(self, text: int, table: int, size: int) -> bytes:
        version = self.told.encode()
        info = b"\xff Go buildinf:\x08\x02".ljust(32, b"\0")
        info += bytes([len(version)]) + version
        info += b"\x80\x01" + bytes(16) + f"path\t{self.main}\n".encode()
        words = [table, *[0] * 19, text, text + size, text, text + size]
        module = struct.pack("<24Q", *words) if self.module else b""
        return info.ljust(_PAGE, b"\0") + module.ljust(_PAGE, b"\0")

    def _sections(self, at: int, named: list[tuple[bytes, int, int]]) -> bytes:
        names = b"\0" + b"".join(name + b"\0" for name, _, _ in named) + b".shstrtab\0"
        rows = bytes(64)
        for name, offset, size in named:
            rows += struct.pack(
                "<IIQQQQIIQQ", names.index(name), 1, 0, BASE + offset, offset, size, 0, 0, 8, 0
            )
        end = at + 64 * (len(named) + 2)
        rows += struct.pack(
            "<IIQQQQIIQQ", names.index(b".shstrtab"), 3, 0, 0, end, len(names), 0, 0, 1, 0
        )
        return rows + names

    def _head(self, segments: int, sections_at: int, sections: int) -> bytes:
        ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        count = sections if sections_at else 0
        head = struct.pack("<16sHHIQQQI", ident, 2, self.machine, 1, BASE, 64, sections_at, 0)
        return head + struct.pack("<6H", 64, 56, segments, 64, count, max(0, count - 1))


def of_version(version: str, package: str = PACKAGE, **settings: object) -> GoFile:
    """A file with crypto/tls as that version of Go compiles it."""
    machine, code = recorded(version)
    functions = {f"{package}.(*Conn).{part}": body for part, body in code.items()}
    made = GoFile(functions, machine, version.partition("-")[0])
    made.magic = MAGICS.get(version, made.magic)
    for name, value in settings.items():
        setattr(made, name, value)
    return made


def _record(path: str) -> dict[str, object]:
    data = Path(path).read_bytes()
    file = elf.parse(lambda offset, size: data[offset : offset + size])
    table = pclntab.find(file)
    assert isinstance(table, pclntab.Table)
    text = next(pclntab.text_candidates(file, table))
    code = {}
    for part in PARTS:
        span = table.span(f"{PACKAGE}.(*Conn).{part.name}".encode())
        assert span is not None
        code[part.name] = file.code(text + span.begin, text + span.end).hex()
    return {"license": "BSD-3-Clause (The Go Authors)", "machine": file.machine, "code": code}


if __name__ == "__main__":
    json.dump(_record(sys.argv[1]), sys.stdout, indent=1)
    sys.stdout.write("\n")
