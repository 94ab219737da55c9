"""A tracepoint's number and offsets from its format."""

from __future__ import annotations

import pytest

from services.capture.child import tracefs

FORMAT = """name: sched_process_exit
ID: 369
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:__data_loc char[] filename;\toffset:28;\tsize:4;\tsigned:0;
\tfield:bool group_dead;\toffset:32;\tsize:1;\tsigned:0;

print fmt: "comm=%s", REC->comm
"""


def test_number_and_offsets_are_read() -> None:
    found = tracefs.parse(FORMAT)
    assert found.number == 369
    assert (found.fields["comm"], found.fields["pid"]) == (8, 24)
    assert (found.fields["filename"], found.fields["group_dead"]) == (28, 32)


def test_a_format_without_number_is_refused() -> None:
    with pytest.raises(OSError, match="no ID"):
        tracefs.parse("name: x")
