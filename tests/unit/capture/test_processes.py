"""A process's parent out of /proc/<pid>/stat, and who a list of roots means here."""

from __future__ import annotations

import os

from services.capture import processes


def test_the_parent_is_found_behind_any_name() -> None:
    assert processes.parent_of("7 (a) b) R 42 7 7 0") == 42
    assert processes.parent_of("") is None


def test_descendants_include_their_root_and_none_without_roots() -> None:
    assert os.getpid() in processes.descendants((os.getppid(),))
    assert processes.descendants(()) == set()
