"""Which processes are looked at again."""

from __future__ import annotations

from services.discovery import unchanged
from services.discovery.inventory import Seen
from services.discovery.unchanged import Unchanged

LOOKS = ("nginx", 100, 4096)


def looked_at(known: Unchanged, pid: int, looks: unchanged.Looks = LOOKS) -> bool:
    looked = []

    def look() -> Seen | None:
        looked.append(pid)
        return None

    known.find(pid, looks, look)
    return bool(looked)


def test_who_looks_the_same_is_not_looked_at_again() -> None:
    known = Unchanged()
    assert looked_at(known, 1)
    assert not looked_at(known, 1)
    assert looked_at(known, 2)


def test_who_has_mapped_more_or_is_another_is() -> None:
    for other in (
        ("nginx", 100, 8192),
        ("nginx", 200, 4096),
        ("sh", 100, 4096),
    ):
        known = Unchanged()
        looked_at(known, 1)
        assert looked_at(known, 1, other)


def test_who_was_gone_or_is_to_be_forgotten_is() -> None:
    known = Unchanged()
    looked_at(known, 1)
    known.begin([2])
    assert looked_at(known, 1)
    known.forget([1, 3])
    assert looked_at(known, 1)


def test_now_and_then_everybody_is() -> None:
    known, times = Unchanged(), 0
    for _ in range(2 * unchanged.THOROUGH):
        known.begin([1])
        times += looked_at(known, 1)
    assert times == 3
