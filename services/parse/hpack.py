"""HPACK (RFC 7541) for an observer, who may have missed what came before.

A table that is not known from its beginning is `partial`: static and literal fields are exact, a
reference counts back from the newest entry, so one to an entry inserted since is exact too, and an
older one is unknown: (None, None). Nothing is evicted by a guessed size, since an encoder never
refers to what it evicted; so no index shifts. A value whose name is unknown is unknown itself.
"""

from __future__ import annotations

from msgspec import Struct

from services.parse import huffman

Field = tuple[str | None, str | None]
Entry = tuple[str | None, str | None, int]  # with its size by RFC 7541 §4.1

UNKNOWN: Entry = (None, None, 32)
_MEMORY = 64 * 1024  # of a table, whatever the peers agreed on; beyond it the oldest are unknown
_DEFAULT_SIZE = 4096
_MAX_SHIFT = 28  # integers stay below 2**35

# fmt: off
_STATIC_FIELDS: tuple[tuple[str, str], ...] = (
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""),
    ("vary", ""), ("via", ""), ("www-authenticate", ""),
)
# fmt: on
_STATIC: tuple[Entry, ...] = tuple((n, v, len(n) + len(v) + 32) for n, v in _STATIC_FIELDS)
_FIRST_DYNAMIC = len(_STATIC) + 1


class Table(Struct, gc=False):
    """The dynamic table of one direction, oldest entry first."""

    entries: list[Entry] = []
    size: int = 0
    max_size: int = _DEFAULT_SIZE
    partial: bool = False


class Block(Struct, frozen=True):
    """`size` is that of its names and values; fields beyond the limit are left out."""

    fields: list[Field]
    size: int
    too_large: bool


class _MalformedBlockError(Exception):
    pass


def forget(table: Table) -> None:
    """Header blocks were missed: what was inserted before can't be counted back to."""
    table.entries, table.size, table.partial = [], 0, True


def decode(table: Table, block: bytes, limit: int) -> Block | None:
    """None for a malformed block, after which the table is forgotten."""
    try:
        return _Reader(table, block, limit).read()
    except (_MalformedBlockError, IndexError):
        forget(table)
        return None


class _Reader:
    __slots__ = ("_block", "_fields", "_limit", "_position", "_size", "_table")

    def __init__(self, table: Table, block: bytes, limit: int) -> None:
        self._table, self._block, self._limit = table, block, limit
        self._position = self._size = 0
        self._fields: list[Field] = []

    def read(self) -> Block:
        block, end = self._block, len(self._block)
        while self._position < end:
            byte = block[self._position]
            if 0x80 < byte < 0xFF:  # §6.1 indexed, in one byte: most of most blocks
                self._position += 1
                self._add(self._entry(byte & 0x7F))
            elif byte & 0x80:  # §6.1 indexed
                self._add(self._entry(self._integer(0x7F)))
            elif byte & 0x40:  # §6.2.1 literal, inserted
                entry = self._literal(0x3F)
                _insert(self._table, entry)
                self._add(entry)
            elif byte & 0x20:  # §6.3 a new maximum size
                _resize(self._table, self._integer(0x1F))
            else:  # §6.2.2, §6.2.3 literal, not inserted
                self._add(self._literal(0x0F))
        return Block(self._fields, self._size, self._size > self._limit)

    def _add(self, entry: Entry) -> None:
        self._size += entry[2]
        if self._size <= self._limit:
            self._fields.append(entry[:2])

    def _entry(self, index: int) -> Entry:
        if index < _FIRST_DYNAMIC:
            if index == 0:
                raise _MalformedBlockError
            return _STATIC[index - 1]
        entries, back = self._table.entries, index - _FIRST_DYNAMIC
        if back < len(entries):
            return entries[-1 - back]
        if self._table.partial:
            return UNKNOWN
        raise _MalformedBlockError

    def _literal(self, mask: int) -> Entry:
        index = self._block[self._position] & mask
        if index == mask:
            index = self._integer(mask)
        else:
            self._position += 1
        if index:
            name = self._entry(index)[0]
            name_size = _size(name)
        else:
            raw = self._string()
            name, name_size = text(raw), len(raw)
        raw = self._string()
        value = text(raw) if name is not None else None
        return name, value, name_size + len(raw) + 32

    def _integer(self, mask: int) -> int:
        value = self._block[self._position] & mask
        self._position += 1
        if value < mask:
            return value
        for shift in range(0, _MAX_SHIFT + 1, 7):
            byte = self._block[self._position]
            self._position += 1
            value += (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _MalformedBlockError

    def _string(self) -> bytes:
        block, start = self._block, self._position + 1
        first = block[start - 1]
        length = first & 0x7F
        if length == 0x7F:
            length = self._integer(0x7F)
            start = self._position
        self._position = end = start + length
        if end > len(block):
            raise _MalformedBlockError
        raw = block[start:end]
        if first < 0x80:
            return raw
        plain = huffman.decode(raw)
        if plain is None:
            raise _MalformedBlockError
        return plain


def _size(name: str | None) -> int:
    if name is None:
        return 0
    return len(name) if name.isascii() else len(name.encode())


def _insert(table: Table, entry: Entry) -> None:
    table.entries.append(entry)
    table.size += entry[2]
    if not table.partial and table.size > table.max_size:
        _evict(table, table.max_size)
    if table.size > _MEMORY:
        table.partial = True
        _evict(table, _MEMORY)


def _resize(table: Table, size: int) -> None:
    """A size of 0 empties the encoder's table: from there on it is known whole."""
    if size == 0:
        table.entries, table.size, table.partial = [], 0, False
    table.max_size = size
    if not table.partial:
        _evict(table, size)


def _evict(table: Table, size: int) -> None:
    count = 0
    while table.size > size:
        table.size -= table.entries[count][2]
        count += 1
    del table.entries[:count]


def text(raw: bytes) -> str:
    """UTF-8 where it is, else Latin-1, which any bytes are."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
