"""What to attach and detach so that what is attached is what is wanted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.messages import Target


@dataclass(frozen=True)
class Plan:
    """Detach first: a changed target is in both."""

    detach: tuple[str, ...]
    attach: tuple[Target, ...]


def plan(desired: Iterable[Target], attached: Mapping[str, Target]) -> Plan:
    """A target is its file and its sites; the path that it is opened by may change freely."""
    wanted = {target.identity.key(): target for target in desired}
    changed = {
        key
        for key, target in wanted.items()
        if key not in attached or attached[key].sites != target.sites
    }
    gone = tuple(key for key in attached if key not in wanted or key in changed)
    return Plan(gone, tuple(wanted[key] for key in wanted if key in changed))
