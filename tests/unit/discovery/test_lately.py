"""Which files stay targets after their last process."""

from __future__ import annotations

from services.discovery.inventory import Finding, Reach
from services.discovery.lately import KEPT, MAX_FILES, Lately
from services.messages import FileIdentity, Site

SITE = Site(
    operation="read",
    event="enter",
    abi="returns_length",
    function="SSL_read",
    kind="uprobe",
    address=0x1000,
    offset=0x1000,
    cost="emulated",
)
HERE, REMOVABLE = 1, 2


def reach(number: int, device: int = HERE, path: str = "") -> Reach:
    identity = FileIdentity(device=device, inode=number, size=1, mtime_ns=1)
    finding = Finding(identity=identity, family="go", sites=(SITE,))
    return Reach(finding=finding, path=path or f"/bin/{number}", name=f"/bin/{number}")


class Disk:
    def __init__(self, *reaches: Reach) -> None:
        self.found = {each.path: each.finding for each in reaches}
        self.lately = Lately(self.found.get, lambda device: device == HERE)


def test_a_file_stays_for_a_while_after_its_last_process() -> None:
    lately = Disk(reach(1)).lately
    assert lately.unused([reach(1), reach(1)], 0) == []
    assert lately.unused([], KEPT) == [reach(1)]
    assert lately.unused([reach(1)], KEPT) == []
    assert lately.unused([], 2 * KEPT) == [reach(1)]
    assert lately.unused([], 2 * KEPT + 1) == []


def test_a_file_that_was_changed_or_removed_does_not_stay() -> None:
    disk = Disk(reach(1), reach(2))
    disk.lately.unused([reach(1), reach(2)], 0)
    disk.found["/bin/1"] = reach(7).finding
    del disk.found["/bin/2"]
    assert disk.lately.unused([], 1) == []


def test_what_may_be_unmounted_or_is_a_process_s_own_way_does_not_stay() -> None:
    away, own = reach(1, device=REMOVABLE), reach(2, path="/proc/7/root/bin/2")
    lately = Disk(away, own).lately
    lately.unused([away, own], 0)
    assert lately.unused([], 1) == []


def test_of_too_many_the_longest_unused_go_and_are_counted() -> None:
    files = [reach(number) for number in range(MAX_FILES + 2)]
    lately = Disk(*files).lately
    lately.unused(files, 0)
    assert lately.unused([], 1) == files[2:]
    assert (len(lately), lately.evicted) == (MAX_FILES, 2)
