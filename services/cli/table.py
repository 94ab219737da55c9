"""Witnesses as rows of a table, for a terminal that is watched. Pure."""

from __future__ import annotations

from datetime import tzinfo

from services.cli.rendering import ARROWS, clock, escape, remarks, target
from services.messages import Witness

_TARGET_AT_LEAST = 20
_COLUMNS = {"TIME": 12, "PROCESS": 16, "": 2, "METHOD": 6, "STATUS": 6, "MS": 7}
_BEFORE_TARGET = sum(size + 1 for size in _COLUMNS.values())


def fits(width: int) -> bool:
    """Whether a row has room for where the request went."""
    return width >= _BEFORE_TARGET + _TARGET_AT_LEAST


def header() -> str:
    return f"{_row(tuple(_COLUMNS))} URL"


def row(witness: Witness, width: int, zone: tzinfo | None = None) -> str:
    """As wide as the terminal at most, where it `fits`, so that a row is a line."""
    request, response = witness.request, witness.response
    latency = witness.timing.latency_ms
    source = f"{escape(witness.source.process or witness.source.workload)}[{witness.source.pid}]"
    cells = (
        clock(witness.timing.request_start or witness.timing.response_start, zone),
        source,
        ARROWS[witness.role],
        escape((request.method if request else None) or "-"),
        str(response.status) if response and response.status is not None else "-",
        "-" if latency is None else f"{latency:.1f}",
    )
    where = target(request.authority, request.path, request.scheme) if request else "-"
    where = where.removeprefix("https://")  # which is what all of this is
    space = max(_TARGET_AT_LEAST, width - _BEFORE_TARGET)
    return f"{_row(cells)} {_cut(' '.join((where, *remarks(witness))), space)}"


def _row(cells: tuple[str, ...]) -> str:
    pairs = zip(cells, _COLUMNS.values(), strict=True)
    return " ".join(f"{_cut(cell, size):{size}}" for cell, size in pairs)


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}+"
