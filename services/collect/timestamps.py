"""Unix nanoseconds as people read them: RFC 3339, in UTC. Knows no clock."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

_NANOSECONDS = 1_000_000_000


def rfc3339(time_ns: int) -> str | None:
    """None for a time that no calendar has."""
    seconds, nanoseconds = divmod(time_ns, _NANOSECONDS)
    second = _second(seconds)
    return None if second is None else f"{second}.{nanoseconds:09d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return None
