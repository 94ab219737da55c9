"""traceparent as W3C Trace Context has it."""

from __future__ import annotations

import pytest

from services.collect.tracecontext import Parent, parent, parse

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f" 00-{TRACE}-{SPAN}-01\t", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_a_valid_traceparent_is_read(value: str, sampled: bool) -> None:
    assert parse(value) == Parent(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE[1:]}-{SPAN}-01",
    ],
)
def test_an_invalid_traceparent_is_none(value: str) -> None:
    assert parse(value) is None


def test_one_header_counts_and_two_count_for_none() -> None:
    header = ("TraceParent", f"00-{TRACE}-{SPAN}-01")
    assert parent((("a", "b"), (None, None), header)) == Parent(TRACE, SPAN, True)
    assert parent((header, header)) is None
    assert parent((("traceparent", None),)) is None
    assert parent(()) is None
