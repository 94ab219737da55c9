"""Whatever was captured, a line stays one printable line, and no query value survives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.cli import rendering

anything = st.text()


@given(anything)
def test_escaped_text_is_printable(text: str) -> None:
    assert rendering.escape(text).isprintable()


@given(anything, anything, st.sampled_from(["https", None]))
def test_a_target_is_printable(authority: str, path: str, scheme: str | None) -> None:
    assert rendering.target(authority, path, scheme).isprintable()


@given(st.lists(st.sampled_from(["a", "&", ";", "=", "?", "/"])), st.integers(0, 50))
def test_no_query_value_is_shown(pieces: list[str], at: int) -> None:
    pieces.insert(min(at, len(pieces)), "=SECRET")
    query = "".join(pieces)
    assert "SECRET" not in rendering.target("h", f"/p?{query}", "https")
