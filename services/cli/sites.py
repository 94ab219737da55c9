"""What `plainwire coverage --sites` says of the probes on each file: where, at what cost, and why
not cheaper. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.cli.rendering import escape
from services.messages import Coverage, Site, Target

_COSTS = {
    "emulated": "emulated, cheap",
    "uretprobe": "return probe, cheap",
    "single_step": "single-stepped, dear",
}


def sites_lines(coverage: Coverage) -> Iterator[str]:
    """A line a file, then one a site, in the order of the functions' choice."""
    for target in coverage.attached:
        yield escape(f"{coverage.node} {target.name} ({target.library})")
        yield from (f"  {escape(line)}" for line in _of(target))


def _of(target: Target) -> Iterator[str]:
    for site in target.sites:
        why = f": {site.fallback}" if site.fallback else ""
        yield f"{_place(site)} {site.kind} ({_COSTS[site.cost]}){why}"
    for function, reason in target.omitted:
        yield f"{function} not probed: {reason}"


def _place(site: Site) -> str:
    return f"{site.function} {site.event} at {site.address:#x}"
