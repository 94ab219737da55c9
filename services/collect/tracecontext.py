"""W3C Trace Context (level 1, §3.2): what a request's traceparent says, if it is valid."""

from __future__ import annotations

import re
from typing import NamedTuple

from services.messages import Headers

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_INVALID_VERSION = "ff"
_SAMPLED = 0x01


class Parent(NamedTuple):
    trace_id: str
    span_id: str
    sampled: bool


def parent(headers: Headers) -> Parent | None:
    """None where there is no traceparent, more than one, or none that is valid."""
    found: str | None = None
    for name, value in headers:
        if name is not None and len(name) == 11 and name.lower() == "traceparent":
            if found is not None or value is None:
                return None
            found = value
    return None if found is None else parse(found)


def parse(traceparent: str) -> Parent | None:
    match = _TRACEPARENT.fullmatch(traceparent.strip(" \t"))
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == _INVALID_VERSION or (version == "00" and rest is not None):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    return Parent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))
