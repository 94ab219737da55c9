"""Rows for a watched terminal: aligned, one line each, nothing that steers it."""

from __future__ import annotations

from datetime import UTC

from services.cli import table
from services.messages import Source
from tests.support.witnesses import request, witness

WITNESS = witness(
    state="no_response",
    source=Source(node="n", namespace="host", workload="w", pid=42, process="p\x1b[2J" * 9),
    request=request(path="/" + "a" * 200 + "?x=SECRET"),
    response=None,
)


def test_rows_stand_below_their_header() -> None:
    row = table.row(WITNESS, 100, UTC)
    assert table.header().index("METHOD") == row.index("GET")
    assert table.header().index("URL") == row.index("h/aaaa")


def test_a_row_is_as_wide_as_the_terminal_and_printable() -> None:
    row = table.row(WITNESS, 100, UTC)
    assert len(row) == 100
    assert row.isprintable()
    assert "SECRET" not in table.row(WITNESS, 1000, UTC)


def test_a_row_fits_where_it_still_shows_where() -> None:
    narrowest = next(width for width in range(200) if table.fits(width))
    assert len(table.row(WITNESS, narrowest, UTC)) == narrowest <= 80
    assert "h/aaaa" in table.row(WITNESS, 10, UTC)
