"""`plainwire coverage` as people read it: a table within the terminal's width, and below each
process that isn't wholly captured what is missed, why, and what mends it. Pure.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator

from services.cli.rendering import escape
from services.messages import Coverage, CoverageEntry

NARROWEST = 60
_PROCESS, _STATE = 24, 12
_INDENT = " " * 4
_STATES = {
    "captured": "captured",
    "partly": "partly",
    "not_captured": "not captured",
    "excluded": "excluded",
}
MOST_SAID = 20  # processes
GRACE_NS = 2_000_000_000  # after it was seen on the wire: until then a connection may be heard of


def overview(coverage: Coverage, width: int) -> Iterator[str]:
    """One node's table."""
    width = max(width, NARROWEST)
    order = list(_STATES)
    entries = sorted(coverage.processes, key=lambda e: (order.index(e.state), e.process, e.pid))
    counts = Counter[str](entry.state for entry in entries)
    told = ", ".join(f"{counts[state]} {word}" for state, word in _STATES.items() if counts[state])
    yield escape(f"{coverage.node}: {told or 'no process uses TLS'}")
    if entries:
        yield f"{'PROCESS':{_PROCESS}} {'STATE':{_STATE}} TLS"
    for entry in entries:
        yield from _rows(entry, width)
    for file, reason in coverage.failed:
        yield from _wrapped(f"not probed: {file}: {reason}", "", width)
    yield from _wrapped(_untold(coverage), "", width)
    if coverage.degraded:
        yield from _wrapped(f"degraded: {coverage.degraded}", "", width)
    if not entries:
        files = ", ".join(target.name for target in coverage.attached) or "no file"
        yield from _wrapped(f"probes on {files}", "", width)


def _untold(coverage: Coverage) -> str:
    """What one message had no room for."""
    counts = (
        (coverage.untold_targets, "files are not probed"),
        (coverage.untold_processes, "processes not listed"),
        (coverage.untold_files, "files not listed"),
        (coverage.untold_sites, "sites of probes not listed"),
    )
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"too many for one message: {told}" if told else ""


def _rows(entry: CoverageEntry, width: int) -> Iterator[str]:
    ended = " (ended)" if entry.ended else ""
    tls = " ".join(filter(None, (entry.library, entry.file)))
    process = _name(entry.process, entry.pid)
    begin = f"{process:{_PROCESS}} {_STATES[entry.state]:{_STATE}} "
    yield f"{begin}{_cut(escape(tls), width - len(begin) - len(ended))}{ended}".rstrip()
    for label, text in (("why", entry.reason), ("mend", entry.mend)):
        if text:
            yield from _wrapped(f"{label}: {text}", _INDENT, width)


def _cut(text: str, space: int) -> str:
    """In the middle: a path's last part says most."""
    if len(text) <= space:
        return text
    end = min(len(text) - text.rfind("/"), space - 1)
    return f"{text[: space - 1 - end]}+{text[-end:]}"


def _name(process: str, pid: int) -> str:
    """The pid is never cut."""
    number = f"[{pid}]"
    name, space = escape(process), _PROCESS - len(number)
    return f"{name if len(name) <= space else name[: space - 1] + '+'}{number}"


def _wrapped(text: str, indent: str, width: int) -> Iterable[str]:
    return textwrap.wrap(
        escape(text), width, initial_indent=indent, subsequent_indent=f"{indent}      "
    )


class Uncaptured:
    """What a run warns of, once for each process: TLS that is not, or not all, captured."""

    def __init__(self) -> None:
        self._said: set[tuple[int, int]] = set()
        self.pending = False  # something is not named yet, or may yet turn out to be captured

    def news(self, coverage: Coverage, now_ns: int) -> list[str]:
        missed = [e for e in coverage.processes if e.state in ("not_captured", "partly")]
        wired = [e for e in missed if e.seen_on_wire]
        settled = [e for e in wired if not e.pending and now_ns - e.since_ns >= GRACE_NS]
        self.pending = len(settled) < len(wired)
        return [line for e in settled for line in self._once(e)]

    def unnamed(self, coverage: Coverage) -> list[str]:
        """At the end nothing is awaited any more."""
        missed = (e for e in coverage.processes if e.state in ("not_captured", "partly"))
        wired = (e for e in missed if e.seen_on_wire)
        return [line for entry in wired for line in self._once(entry)]

    def _once(self, entry: CoverageEntry) -> list[str]:
        key = entry.pid, entry.since_ns
        if key in self._said or len(self._said) > MOST_SAID:
            return []
        self._said.add(key)
        if len(self._said) > MOST_SAID:
            return ["more processes speak TLS that isn't captured; see `plainwire coverage`"]
        what = "isn't captured" if entry.state == "not_captured" else "is captured in part only"
        mend = f" ({entry.mend})" if entry.mend else ""
        process = escape(entry.process)
        return [f"{process}[{entry.pid}] speaks TLS that {what}: {escape(entry.reason + mend)}"]
