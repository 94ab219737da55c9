"""Descriptors made and closed by processes that live for that alone. Here they are pipes.

That no breakpoint stays behind is shown by tests/e2e/test_capture_safety.py.
"""

from __future__ import annotations

import os
import resource
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.capture.child import hands

MANY = 300  # more than the kernel passes in one message


def test_what_is_attached_elsewhere_arrives_and_is_closed_for_good() -> None:
    def attach(made: list[int]) -> None:
        for _ in range(MANY // 2):
            made += os.pipe()

    found = hands.attached(attach)
    assert len(found) == MANY
    assert not any(map(os.get_inheritable, found))
    reading, writing = found[:2]
    os.write(writing, b"it is one pipe")
    assert os.read(reading, 100) == b"it is one pipe"
    hands.released([found.pop(1)])
    assert os.read(reading, 100) == b""  # nobody holds the other end
    hands.released(found)


def test_what_can_not_be_attached_says_why_and_leaves_nothing() -> None:
    before = os.listdir("/proc/self/fd")

    def attach(made: list[int]) -> None:
        made += os.pipe()
        raise OSError(95, "not on this kernel")

    with pytest.raises(OSError, match="not on this kernel"):
        hands.attached(attach)
    assert os.listdir("/proc/self/fd") == before


def test_descriptors_that_do_not_fit_are_an_error_and_leave_nothing() -> None:
    before = os.listdir("/proc/self/fd")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def attach(made: list[int]) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        made += [os.dup(2) for _ in range(MANY)]

    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(OSError, match="too many open files"):
            hands.attached(attach)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert os.listdir("/proc/self/fd") == before


def test_hands_that_work_at_once_do_not_wait_for_each_other() -> None:
    before = set(os.listdir("/proc/self/fd"))

    def attach_and_release(_: int) -> None:
        hands.released(hands.attached(lambda made: made.extend(os.pipe())))

    pool = ThreadPoolExecutor(8)
    try:
        for done in [pool.submit(attach_and_release, number) for number in range(64)]:
            done.result(timeout=300)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    assert set(os.listdir("/proc/self/fd")) <= before
