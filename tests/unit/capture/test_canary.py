"""The canary talks with itself, and knows its own voice and its library."""

from __future__ import annotations

import os

from services.capture.child.canary import Canary
from services.messages import FileIdentity
from tests.support.pipeline import system_libssl


def test_it_needs_no_certificate_and_counts_what_it_said() -> None:
    canary = Canary()
    canary.sing()
    canary.sing()
    assert (canary.sent, canary.seen) == (2, 0)


def test_it_hears_itself_and_nobody_else() -> None:
    canary, other = Canary(), Canary()
    said = canary._marker + (7).to_bytes(8, "little")
    other.hear([said, b""])
    assert other.seen == 0
    canary.hear([said])
    assert canary.seen == 7


def test_it_is_visible_where_its_library_is_probed_below_whatever_device() -> None:
    found = os.stat(system_libssl())
    identity = FileIdentity(
        device=1, inode=found.st_ino, size=found.st_size, mtime_ns=found.st_mtime_ns
    )
    assert Canary().is_visible([identity])
    assert not Canary().is_visible([])
