"""Who a list of roots means here."""

from __future__ import annotations

import os

from services.capture.child import processes


def test_descendants_include_their_root_and_none_without_roots() -> None:
    assert os.getpid() in processes.descendants((os.getppid(),))
    assert processes.descendants(()) == set()
