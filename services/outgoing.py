"""What is to be published: subject, bytes, id, and what of it stands in headers.

Knows neither a connection nor what the bytes mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BEHIND = "Plainwire-Behind"  # a header
_MOST_DIGITS = 7


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`message_id` makes it stored once however often it is sent; `links` are traceparents. Of the
    `behind` outputs of its sender before it any may not be stored yet: what is refused for a moment
    is sent again, and then stands behind what was sent later."""

    subject: str
    payload: bytes
    message_id: str = ""
    links: Sequence[str] = ()
    behind: int = 0

    def __repr__(self) -> str:
        return f"Outgoing({self.subject}, {len(self.payload)} bytes)"


def behind(headers: Mapping[str, str]) -> int:
    """What `Outgoing.behind` was. Anybody may write headers: nonsense is 0."""
    told = headers.get(BEHIND, "0")
    return int(told) if len(told) < _MOST_DIGITS and told.isdecimal() else 0


def destination(subject: str) -> str:
    """The subject without ids: what spans and metrics are named after."""
    return ".".join(subject.split(".")[:2]).replace("plainwire.store", "plainwire.witnesses")
