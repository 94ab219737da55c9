"""Real function bodies as test data: what the choice of probe sites asks of a file, recorded.

`python -m tests.support.functions LIBRARY TITLE LICENSE > tests/corpus/functions/NAME.json` records
the functions of a library on this machine, or those whose names follow; `load` gives them back as
an image of that file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from services.discovery.code import calls, elf, sites
from services.discovery.code.disassembly import Body
from services.discovery.code.image import FileImage
from services.discovery.code.probing import Returns

CORPUS = Path(__file__).parents[1] / "corpus" / "functions"


class RecordedImage:
    """Functions by name, and code by address; file offsets are the addresses."""

    def __init__(self, machine: int, named: dict[str, Body], parts: list[Body]) -> None:
        self.machine = machine
        self._named = named
        self._parts = [*named.values(), *parts]
        self._stubs: dict[str, frozenset[int]] = {}
        self._data: dict[tuple[int, int], bytes] = {}

    def add(self, stubs: dict[str, list[str]], data: list[dict[str, str]]) -> None:
        """What a file has besides code: its stubs, and constants that were asked for."""
        self._stubs = {name: frozenset(int(a, 16) for a in found) for name, found in stubs.items()}
        for row in data:
            content = bytes.fromhex(row["bytes"])
            self._data[int(row["address"], 16), len(content)] = content

    def named(self, function: str) -> Body | None:
        return self._named.get(function)

    def bodies(self) -> list[Body]:
        return list(self._named.values())

    def begins_at(self, address: int) -> Body | None:
        return next((b for b in self._parts if b.address == address), None)

    def around(self, address: int) -> Body | None:
        return next((b for b in self._parts if b.address <= address < b.end), None)

    def stubs(self, function: str) -> frozenset[int]:
        return self._stubs.get(function, frozenset())

    def data(self, address: int, size: int) -> bytes:
        return self._data.get((address, size), b"")

    def pointers(self, places: frozenset[int]) -> dict[int, int]:
        return {}

    def offset(self, address: int) -> int:
        return address


def load(name: str) -> RecordedImage:
    recorded = json.loads((CORPUS / f"{name}.json").read_text())
    named = {body["name"]: _body(body) for body in recorded["functions"]}
    parts = [_body(body) for body in recorded["parts"]]
    image = RecordedImage(recorded["machine"], named, parts)
    image.add(recorded.get("stubs", {}), recorded.get("data", []))
    return image


def _body(recorded: dict[str, str]) -> Body:
    address = int(recorded["address"], 16)
    return Body(recorded["name"], address, bytes.fromhex(recorded["code"]))


class _Recorder:
    """An image that remembers what it was asked for."""

    def __init__(self, image: FileImage) -> None:
        self.machine = image.machine
        self._image = image
        self.functions: dict[str, Body] = {}
        self.parts: dict[int, Body] = {}
        self.stubs_of: dict[str, list[str]] = {}
        self.read: dict[int, bytes] = {}

    def stubs(self, function: str) -> frozenset[int]:
        found = self._image.stubs(function)
        if found:
            self.stubs_of[function] = [hex(address) for address in sorted(found)]
        return found

    def data(self, address: int, size: int) -> bytes:
        self.read[address] = self._image.data(address, size)
        return self.read[address]

    def named(self, function: str) -> Body | None:
        return self._kept(self._image.named(function), function)

    def begins_at(self, address: int) -> Body | None:
        return self._kept(self._image.begins_at(address))

    def around(self, address: int) -> Body | None:
        return self._kept(self._image.around(address))

    def offset(self, address: int) -> int:
        return self._image.offset(address)

    def _kept(self, body: Body | None, function: str = "") -> Body | None:
        if body is not None and function:
            self.functions[function] = body
        elif body is not None and body.address not in {b.address for b in self.functions.values()}:
            self.parts[body.address] = body
        return body


def _record(path: str, title: str, license_name: str, *names: str) -> dict[str, object]:
    data = Path(path).read_bytes()
    file = elf.parse(lambda offset, size: data[offset : offset + size])
    recorder = _Recorder(FileImage(file, frozenset(names) or calls.NAMES))
    for uretprobes in Returns:
        sites.choose(recorder, uretprobes)
    for name in names:
        recorder.named(name)
    return {
        "library": title,
        "license": license_name,
        "build_id": elf.build_id(file),
        "machine": file.machine,
        "functions": [_row(body) for _, body in sorted(recorder.functions.items())],
        "parts": [_row(body) for _, body in sorted(recorder.parts.items())],
        "stubs": recorder.stubs_of,
        "data": [{"address": hex(a), "bytes": d.hex()} for a, d in sorted(recorder.read.items())],
    }


def _row(body: Body) -> dict[str, str]:
    return {"name": body.name, "address": hex(body.address), "code": body.code.hex()}


if __name__ == "__main__":
    json.dump(_record(*sys.argv[1:]), sys.stdout, indent=1)
    sys.stdout.write("\n")
