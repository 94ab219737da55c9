"""Where fields lie, read from type information that is made here; and the running kernel's own."""

from __future__ import annotations

import struct

import pytest

from services.capture.child import btf

_STRUCT, _UNION, _INT, _ENUM = 4, 5, 1, 6


class Types:
    """A BTF blob that grows type by type."""

    def __init__(self) -> None:
        self.names, self.types, self.count = b"\0", b"", 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.names += text.encode() + b"\0"
        return len(self.names) - len(text) - 1

    def add(self, kind: int, name: str, behind: bytes, count: int) -> int:
        self.types += struct.pack("<III", self.name(name), kind << 24 | count, 8) + behind
        self.count += 1
        return self.count

    def compound(self, name: str, members: list[tuple[str, int, int]], kind: int = _STRUCT) -> int:
        """Members are name, type and offset in bytes."""
        packed = [struct.pack("<III", self.name(n), t, 8 * o) for n, t, o in members]
        return self.add(kind, name, b"".join(packed), len(members))

    def blob(self) -> bytes:
        sizes = (24, 0, len(self.types), len(self.types), len(self.names))
        return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, *sizes) + self.types + self.names


def kernel(*, without: str = "") -> Types:
    """Each field of a struct 8 bytes behind the one before; a port lies in a union in a struct."""
    types = Types()
    integer = types.add(_INT, "int", bytes(4), 0)
    types.add(_ENUM, "", bytes(16), 2)
    inner = types.compound("", [("skc_dport", integer, 0), ("skc_num", integer, 2)])
    ports = types.compound("", [("skc_portpair", integer, 0), ("", inner, 0)], _UNION)
    fields: dict[str, list[str]] = {}
    for name, field in btf._FIELDS:
        if field not in ("skc_dport", "skc_num", without):
            fields.setdefault(name, []).append(field)
    for name, own in fields.items():
        members = [(field, integer, 8 * n) for n, field in enumerate(own, 1)]
        if name == "sock_common":
            members.append(("", ports, 100))
        types.compound(name, members)
    return types


def test_fields_are_found_also_in_members_without_a_name() -> None:
    found = btf.offsets(kernel().blob())
    assert (found.table_size, found.table_files) == (8, 16)
    assert (found.sock_peer_port, found.sock_local_port) == (100, 102)
    assert len(btf._FIELDS) == len(found)


def test_a_kernel_that_lacks_a_field_is_not_guessed_at() -> None:
    with pytest.raises(btf.Unreadable):
        btf.offsets(kernel(without="private_data").blob())


@pytest.mark.parametrize("cut", [0, 3, 24, 40, 400])
def test_what_is_no_type_information_is_said(cut: int) -> None:
    with pytest.raises(btf.Unreadable):
        btf.offsets(kernel().blob()[:cut])
