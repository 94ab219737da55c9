"""Births of TLS objects that nobody will free any more make room, and only those."""

from __future__ import annotations

from services.capture.child.births import LOOKED_AT, Births
from services.capture.layout import CONNECTION_KEY
from services.capture.memory import Marks

LIVING, ENDED = 7, 8


class Kept:
    """The kernel's map: whoever asks for what follows a key that is gone begins anew."""

    def __init__(self, keys: list[bytes]) -> None:
        self.births = dict.fromkeys(keys, (8).to_bytes(8, "little"))

    def first_key(self, key_size: int) -> bytes | None:
        return next(iter(self.births), None)

    def key_after(self, key: bytes) -> bytes | None:
        keys = list(self.births)
        if key not in self.births:
            return self.first_key(len(key))
        return next(iter(keys[keys.index(key) + 1 :]), None)

    def get(self, key: bytes) -> bytes | None:
        return self.births.get(key)

    def delete(self, key: bytes) -> bool:
        return self.births.pop(key, None) is not None


class Processes:
    refused = 0

    def __init__(self) -> None:
        self.marks = Marks(memoryview(bytearray(4096)))
        self.marks._of[LIVING], self.marks._of[ENDED] = 8, 16

    def counter(self, name: str) -> int:
        assert name == "births_refused"
        return self.refused


def key(ssl: int, tgid: int) -> bytes:
    return CONNECTION_KEY.pack(ssl, tgid, 0)


def kept(count: int) -> Kept:
    return Kept([key(n, ENDED if n % 2 else LIVING) for n in range(count)])


def test_while_there_is_room_nothing_is_looked_at() -> None:
    births = kept(10)
    Births(births, Processes()).tick()
    assert len(births.births) == 10


def test_where_there_is_none_what_ended_processes_had_is_forgotten() -> None:
    births, processes = kept(10), Processes()
    swept = Births(births, processes)
    processes.refused = 1
    swept.tick()
    assert list(births.births) == [key(n, LIVING) for n in range(0, 10, 2)]


def test_so_many_are_looked_at_a_tick_and_the_rest_later() -> None:
    births, processes = kept(2 * LOOKED_AT), Processes()
    swept = Births(births, processes)
    processes.refused = 1
    swept.tick()
    assert len(births.births) == 2 * LOOKED_AT - LOOKED_AT // 2
    swept.tick()
    assert len(births.births) == LOOKED_AT


def test_one_that_was_freed_meanwhile_stops_nothing() -> None:
    births, processes = kept(LOOKED_AT + 10), Processes()
    swept = Births(births, processes)
    processes.refused = 1
    swept.tick()
    del births.births[key(LOOKED_AT, LIVING)]
    swept.tick()
    assert all(CONNECTION_KEY.unpack(found)[1] == LIVING for found in births.births)


def test_a_pid_that_was_not_possible_when_the_programs_were_loaded_stops_nothing() -> None:
    births, processes = Kept([key(1, 4096 + LIVING), key(2, 4096 + ENDED)]), Processes()
    swept = Births(births, processes)
    processes.refused = 1
    swept.tick()
    assert list(births.births) == [key(1, 4096 + LIVING)]
