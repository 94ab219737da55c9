"""What coverage leaves out where one message has no room for all of it."""

from __future__ import annotations

import msgspec

from services.capture.parent.fitting import fitting
from services.messages import Coverage, CoverageEntry, CoverageState, FileIdentity, Site, Target

SITE = Site(
    operation="read", event="exit", abi="returns_length", function="SSL_read", kind="uprobe",
    address=1, offset=2, cost="emulated",
)  # fmt: skip


def target(inode: int) -> Target:
    return Target(
        identity=FileIdentity(device=1, inode=inode, size=3, mtime_ns=4),
        path="/p", name="/lib/libssl", family="openssl", library="openssl 3", sites=(SITE,) * 10,
    )  # fmt: skip


def entries(first: int, state: CoverageState, *, ended: bool = False) -> tuple[CoverageEntry, ...]:
    return tuple(
        CoverageEntry(pid=pid, process="app", state=state, ended=ended)
        for pid in range(first, first + 50)
    )


WHOLE = Coverage(
    node="n", time_ns=1, epoch=2, attached=tuple(map(target, range(5))),
    processes=entries(0, "not_captured") + entries(50, "captured")
    + entries(100, "captured", ended=True),
    failed=(("/lib/x", "refused"),), untold_processes=7,
)  # fmt: skip
SIZE = len(msgspec.json.encode(WHOLE))


def told(max_bytes: int) -> Coverage:
    found = fitting(WHOLE, max_bytes)
    assert len(msgspec.json.encode(found)) <= max_bytes
    assert found.untold_processes == 7 + 150 - len(found.processes)
    assert found.untold_sites == 50 - sum(len(t.sites) for t in found.attached)
    assert found.untold_files == 6 - len(found.attached) - len(found.failed)
    return found


def test_what_fits_is_told_whole() -> None:
    assert fitting(WHOLE, SIZE) is WHOLE


def test_where_probes_sit_is_left_out_first() -> None:
    found = told(SIZE - 1)
    assert [len(t.sites) for t in found.attached] == [10, 10, 10, 10, 0]
    assert found.processes == WHOLE.processes


def test_then_who_ended_then_who_is_captured() -> None:
    bare = SIZE - 50 * len(msgspec.json.encode(SITE))
    found = told(bare - 500)
    assert found.processes[:100] == WHOLE.processes[:100]
    assert 100 < len(found.processes) < 150
    missed = told(bare - 4500)
    assert missed.processes == WHOLE.processes[: len(missed.processes)]
    assert 50 <= len(missed.processes) < 100
    assert missed.untold_files == 0


def test_whatever_the_room_what_is_told_fits_and_the_rest_is_counted() -> None:
    for max_bytes in range(200, SIZE + 100, 97):
        told(max_bytes)
