"""The kernel's side of a record ring (bpf/4_rings.c), in Python: for tests of the reader."""

from __future__ import annotations

import struct

from services.capture import layout
from services.messages import Direction, Losses
from services.records import RECORD_SIZE, Record, encode_record

_WORD = struct.Struct("<Q")


class KernelRing:
    """Writes as the programs do; a record may be left unfinished, and finished later."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory = bytearray(layout.ring_stride(size))

    def word(self, index: int) -> int:
        return int(_WORD.unpack_from(self.memory, 8 * index)[0])

    def set_word(self, index: int, value: int) -> None:
        _WORD.pack_into(self.memory, 8 * index, value)

    def write(self, data: bytes) -> bool:
        """A whole record; False where there is no room."""
        position = self.begin(len(data))
        if position is None:
            return False
        self.finish(position, data)
        return True

    def begin(self, need: int) -> int | None:
        head = self.word(layout.HEAD)
        if head + need - self.word(layout.TAIL) > self.size:
            return None
        self.set_word(layout.HEAD, head + need)
        at = head % self.size
        if at + need >= self.size:
            self.set_word(layout.WRAP, at + need - self.size)
        return head

    def finish(self, position: int, data: bytes) -> None:
        at = layout.RING_HEADER + position % self.size
        self.memory[at : at + len(data)] = data
        self.set_word(layout.COMMITTED, self.word(layout.COMMITTED) + len(data))


def record(payload: bytes, *, shard: int = 0, connection: int = 1, flags: int = 0) -> bytes:
    made = Record(
        connection=connection, direction=Direction.EGRESS, flags=flags, offset=0, boot_ns=1,
        lost=Losses(), payload=memoryview(payload),
    )  # fmt: skip
    data = encode_record(made, shard)
    assert len(data) == RECORD_SIZE + len(payload)
    return data
