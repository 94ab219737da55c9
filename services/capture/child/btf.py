"""Where fields lie in the running kernel's own structs, from its type information (BTF).

The programs know no struct of the kernel by header: headers may be of another version. Pure.
https://docs.kernel.org/bpf/btf.html
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MEMBER = struct.Struct("<III")
_STRUCT, _UNION, _ARRAY = 4, 5, 3
_WORD_BEHIND = frozenset({1, 14, 17})  # integers, variables, declaration tags
_BEHIND_EACH = {_STRUCT: 12, _UNION: 12, 15: 12, 6: 8, 13: 8, 19: 12}
_MODIFIERS = frozenset({8, 9, 10, 11, 18})  # typedef, volatile, const, restrict, type tag


class KernelLayout(NamedTuple):
    """Offsets in bytes, in the order of struct kernel_layout."""

    task_files: int
    files_table: int
    table_size: int
    table_files: int
    file_inode: int
    file_private: int
    inode_mode: int
    socket_type: int
    socket_sock: int
    sock_protocol: int
    sock_family: int
    sock_peer_port: int
    sock_local_port: int
    sock_peer: int
    sock_local: int
    sock_peer6: int
    sock_local6: int


# Struct and field of each.
_FIELDS = (
    ("task_struct", "files"),
    ("files_struct", "fdt"),
    ("fdtable", "max_fds"),
    ("fdtable", "fd"),
    ("file", "f_inode"),
    ("file", "private_data"),
    ("inode", "i_mode"),
    ("socket", "type"),
    ("socket", "sk"),
    ("sock", "sk_protocol"),
    ("sock_common", "skc_family"),
    ("sock_common", "skc_dport"),
    ("sock_common", "skc_num"),
    ("sock_common", "skc_daddr"),
    ("sock_common", "skc_rcv_saddr"),
    ("sock_common", "skc_v6_daddr"),
    ("sock_common", "skc_v6_rcv_saddr"),
)
_STRUCTS = frozenset(name for name, _ in _FIELDS)


class Unreadable(Exception):
    """It is no BTF, or lacks a field."""


def offsets(data: bytes) -> KernelLayout:
    """Raises Unreadable. A `sock` begins with its `sock_common`."""
    try:
        types = _Types(data)
        return KernelLayout(*(types.offset(*field) for field in _FIELDS))
    except (struct.error, IndexError, KeyError, ValueError):
        raise Unreadable from None


class _Types:
    def __init__(self, data: bytes) -> None:
        magic, _, _, header, types, size, strings, length = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise Unreadable
        self._data = data
        self._strings = data[header + strings : header + strings + length]
        begin = header + types
        names = {self._string(name): name for name in _STRUCTS}
        self._structs, self._places = _walk(data, begin, begin + size, frozenset(names))
        self._names = {name: number for number, name in names.items()}

    def _string(self, text: str) -> int:
        return self._strings.index(b"\0" + text.encode() + b"\0") + 1

    def offset(self, struct_name: str, field: str) -> int:
        at = self._structs[self._names[struct_name]]
        found = self._find(at, self._string(field))
        if found is None or found % 8:
            raise Unreadable
        return found // 8

    def _find(self, at: int, field: int) -> int | None:
        """In bits; members without a name are looked into."""
        info: int = _TYPE.unpack_from(self._data, at)[1]
        for n in range(info & 0xFFFF):
            name, kind, told = _MEMBER.unpack_from(self._data, at + 12 + 12 * n)
            where: int = told & (0xFFFFFF if info >> 31 else 0xFFFFFFFF)
            if name == field:
                return where
            inner = self._struct(kind) if not name else None
            if inner is not None and (found := self._find(inner, field)) is not None:
                return where + found
        return None

    def _struct(self, number: int) -> int | None:
        at = self._places[number]
        _, info, target = _TYPE.unpack_from(self._data, at)
        kind = info >> 24 & 0x1F
        if kind in _MODIFIERS:
            return self._struct(target)
        return at if kind in (_STRUCT, _UNION) else None


def _walk(
    data: bytes, at: int, end: int, wanted: frozenset[int]
) -> tuple[dict[int, int], list[int]]:
    """Where the wanted structs are, by their names' places, and where each type is."""
    structs: dict[int, int] = {}
    places = [0]
    behind, sizes = _TYPE.unpack_from, _BEHIND_EACH
    while at < end:
        name, info, _ = behind(data, at)
        places.append(at)
        kind = info >> 24 & 0x1F
        if kind == _STRUCT and name in wanted:
            structs.setdefault(name, at)
        at += 12
        if kind in sizes:
            at += sizes[kind] * (info & 0xFFFF)
        elif kind in _WORD_BEHIND:
            at += 4
        elif kind == _ARRAY:
            at += 12
    return structs, places
