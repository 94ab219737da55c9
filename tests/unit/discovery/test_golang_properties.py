"""Whatever a file that looks like Go's says: an answer in bounded time, and sites at RETs only."""

from __future__ import annotations

import struct
import time

from hypothesis import given
from hypothesis import strategies as st

from services.discovery.code import elf, golang
from services.discovery.code.elf import MalformedElf
from tests.support import go_file

FILE = go_file.of_version("go1.26.8").content()
BARE = go_file.of_version("go1.21.13", sections=False).content()
MOST = 128 << 20

mutations = st.lists(
    st.tuples(st.integers(0, len(FILE) - 9), st.binary(min_size=1, max_size=8)), max_size=12
)


def bounded(data: bytes) -> golang.Choice | None:
    left = MOST

    def read(offset: int, size: int) -> bytes:
        nonlocal left
        left -= size
        if left < 0 or offset >> 62:
            raise MalformedElf("too much")
        return data[offset : offset + size]

    try:
        return golang.choose(elf.parse(read))
    except MalformedElf:
        return None


@given(st.sampled_from([FILE, BARE]), mutations)
def test_mutated_files_are_judged_and_never_raise(
    file: bytes, changes: list[tuple[int, bytes]]
) -> None:
    data = bytearray(file)
    for at, change in changes:
        data[at : at + len(change)] = change
    found = bounded(bytes(data))
    for site in found.sites if found else ():
        if site.event == "exit":
            assert data[site.offset] == 0xC3


@given(st.integers(0, len(FILE)))
def test_files_that_were_cut_short_are_judged_too(size: int) -> None:
    bounded(FILE[:size])


def test_a_file_full_of_what_is_looked_for_costs_no_more_than_a_second() -> None:
    """Magics, names and rows in their thousands, which lead nowhere."""
    made = go_file.of_version("go1.26.8", sections=False)
    name = b"\0crypto/tls.(*Conn).Read\0"
    data = made.content()
    at = data.index(name)
    stuffing = struct.pack("<IHBB", 0xFFFFFFF1, 0, 1, 8) * (1 << 18)
    for filler in (stuffing, name * (1 << 17), bytes(4 << 20), b"\xff Go buildinf:" * (1 << 18)):
        hostile = bytearray(data + filler)
        for segment in range(3):
            struct.pack_into("<Q", hostile, 64 + 56 * segment + 32, len(hostile))
        hostile[at + 1 : at + 2] = b"d"
        begun = time.thread_time()
        bounded(bytes(hostile))
        assert time.thread_time() - begun < 1
