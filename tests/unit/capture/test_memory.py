"""A process's byte is found where the programs find it."""

from __future__ import annotations

from services.capture import layout
from services.capture.layout import Verdict
from services.capture.memory import Marks

PIDS = 4096


def test_a_verdict_leaves_the_generation_alone() -> None:
    of = bytearray(PIDS)
    of[7] = layout.GENERATION_MASK
    marks = Marks(memoryview(of))
    marks.set_verdict(7, Verdict.EXCLUDE)
    assert (marks.verdict(7), marks.generation(7)) == (Verdict.EXCLUDE, layout.GENERATION_MASK)
    marks.set_verdict(7, Verdict.INCLUDE)
    assert marks.verdict(7) is Verdict.INCLUDE
    assert marks.verdict(8) is Verdict.DEFAULT


def test_a_pid_beyond_what_there_was_room_for_shares_a_byte() -> None:
    """The kernel's highest pid may be raised while the programs are loaded."""
    of = bytearray(PIDS)
    marks = Marks(memoryview(of))
    marks.set_verdict(PIDS + 7, Verdict.INCLUDE)
    of[7] |= 8
    assert of[7] == Verdict.INCLUDE | 8
    assert (marks.verdict(9 * PIDS + 7), marks.generation(PIDS + 7)) == (Verdict.INCLUDE, 8)
    assert marks.verdict(PIDS - 1) is Verdict.DEFAULT
