"""What capture tells people of each process with TLS: captured, partly, excluded, or why not. Pure.

Discovery says which code a process has and whether a target covers it, the probes what is attached,
the wire what goes over sockets past them. Nothing is said that these don't prove.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from services.capture.layout import Verdict
from services.capture.parent.onwire import Fact, is_same
from services.capture.parent.users import User
from services.lifetimes import TICK_NS
from services.messages import Coverage, CoverageEntry, CoverageState, Target, Targets, TlsProcess

BY_PIDS = "not one of the processes to capture, nor a descendant (capture's setting pids)"
BY_EXCLUDE_PIDS = "it or an ancestor of it is left out (capture's setting exclude_pids)"
OWN = "Plainwire's own"
QUIC = "QUIC (HTTP/3 over UDP), which isn't captured"
MEND_QUIC = "switch HTTP/3 off in the program or at its server: it then falls back to TCP"
UNNAMED = "TLS goes over its sockets, and discovery hasn't said yet which code makes it"
UNKNOWN = "TLS that is relayed, or made by code that nothing is known of"
Rule = Callable[[int], str]


@dataclass(frozen=True)
class Known:
    """`failed` gives the reason by the target's key, `rule` why a process is excluded, if it is;
    `users` are processes whose connections are captured: their names and libraries; `used` are
    those and who ended not long ago."""

    targets: Targets
    attached: Mapping[str, Target]
    failed: Mapping[str, str]
    rule: Rule
    facts: Mapping[int, Fact] = field(default_factory=dict)
    users: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    used: Mapping[int, User] = field(default_factory=dict)

    def user(self, pid: int, start_boot_ns: int) -> User | None:
        """Of that very process: none of its connections is older than itself."""
        user = self.used.get(pid)
        return user if user and user.first_boot_ns + TICK_NS >= start_boot_ns else None


def rule(verdict: Verdict, default: Verdict) -> str:
    """By which a process is left out, or empty."""
    match verdict or default:
        case Verdict.INCLUDE:
            return ""
        case Verdict.CANARY:
            return OWN
    return BY_EXCLUDE_PIDS if verdict is Verdict.EXCLUDE else BY_PIDS


def describe(known: Known, time_ns: int, epoch: int) -> Coverage:
    names = {target.identity.key(): target.name for target in known.targets.targets}
    return Coverage(
        node=known.targets.node,
        time_ns=time_ns,
        epoch=epoch,
        attached=tuple(known.attached.values()),
        processes=_entries(known),
        failed=tuple((names.get(key, key), reason) for key, reason in known.failed.items()),
        untold_targets=known.targets.untold_targets,
        untold_processes=known.targets.untold_processes,
    )


def with_shed(coverage: Coverage, shed: Mapping[int, int]) -> Coverage:
    """`shed` counts living connections that are shed, by process."""

    def marked(entry: CoverageEntry) -> CoverageEntry:
        count = shed.get(entry.pid, 0)
        if not count or entry.state != "captured":
            return entry
        reason = f"{count} of its connections are shed, to stay within the budget"
        return msgspec.structs.replace(entry, state="partly", reason=reason)

    return msgspec.structs.replace(coverage, processes=tuple(map(marked, coverage.processes)))


def _entries(known: Known) -> tuple[CoverageEntry, ...]:
    """Of processes that discovery names, then of those that only the wire or the probes know."""
    found = {process.pid: _entry(known, process) for process in known.targets.processes}
    for pid, fact in known.facts.items():
        if fact.ended_ns and fact.entry:
            found[pid] = _once(known, fact, msgspec.structs.replace(fact.entry, ended=True))
        elif pid not in found:
            found[pid] = _with_fact(known, _of_fact(known, fact), fact, _unnamed(fact))
    for pid, (process, library) in known.users.items():
        if pid not in found:
            found[pid] = CoverageEntry(pid=pid, process=process, state="captured", library=library)
    return tuple(found.values())


def _once(known: Known, fact: Fact, entry: CoverageEntry) -> CoverageEntry:
    """What was said while it lived, before its connections were heard of."""
    user = known.user(entry.pid, fact.told.start_boot_ns)
    if user is None or entry.state == "excluded":
        return entry
    entry = _by_connections(known, entry, user)
    if entry.state == "captured" or fact.told.quic:
        return entry
    return msgspec.structs.replace(entry, state="captured", reason="", mend="")


def _by_connections(known: Known, entry: CoverageEntry, user: User) -> CoverageEntry:
    """Its connections tell which of its libraries speaks."""
    library = user.library()
    if not library or library == entry.library:
        return entry
    files = {target.name for target in known.attached.values() if target.library == library}
    file = files.pop() if len(files) == 1 else ""
    return msgspec.structs.replace(entry, library=library, file=file)


def _entry(known: Known, process: TlsProcess) -> CoverageEntry:
    state, reason = _state(known, process)
    target = known.attached.get(process.target)
    file = target.name if target and process.library in ("", target.library) else ""
    entry = CoverageEntry(
        pid=process.pid,
        process=process.process,
        state=state,
        library=process.library,
        file=file,
        reason=reason,
        mend=process.mend if state == "not_captured" else "",
        seen_on_wire=process.seen_on_wire,
        container_id=process.container_id,
    )
    if (user := known.user(process.pid, process.start_boot_ns)) and state == "captured":
        entry = _by_connections(known, entry, user)
    fact = known.facts.get(process.pid)
    return _with_fact(known, entry, fact, process) if fact and is_same(process, fact) else entry


def _state(known: Known, process: TlsProcess) -> tuple[CoverageState, str]:
    fact = known.facts.get(process.pid)
    same = fact is not None and is_same(process, fact)
    if rule := fact.rule if fact and same else known.rule(process.pid):
        return "excluded", rule
    if process.target in known.attached:
        return "captured", ""
    if known.user(process.pid, process.start_boot_ns):
        return "captured", ""  # by its connections; whatever discovery can't see of it
    if process.target in known.failed:
        return "not_captured", known.failed[process.target]
    if process.pid in known.users or (fact and same and fact.told.used):
        return "captured", ""
    return "not_captured", process.reason or "no target covers its TLS library yet"


def _unnamed(fact: Fact) -> TlsProcess:
    told = fact.told
    return TlsProcess(pid=told.pid, start_boot_ns=told.start_boot_ns, process=told.process)


def _of_fact(known: Known, fact: Fact) -> CoverageEntry:
    told, user = fact.told, known.user(fact.told.pid, fact.told.start_boot_ns)
    used = told.used or user is not None
    state: CoverageState = "captured" if used else "not_captured"
    reason = "" if used or not told.tcp else UNNAMED
    if fact.rule:
        state, reason = "excluded", fact.rule
    entry = CoverageEntry(
        pid=told.pid, process=told.process, state=state, reason=reason, pending=reason == UNNAMED
    )
    return _by_connections(known, entry, user) if user else entry


def _with_fact(
    known: Known, entry: CoverageEntry, fact: Fact, process: TlsProcess
) -> CoverageEntry:
    """What was seen on the wire, and what of it a captured process' library can't have made."""
    entry = msgspec.structs.replace(
        entry,
        seen_on_wire=True,
        evidence=_evidence(fact),
        since_ns=fact.since_ns,
        ended=bool(fact.ended_ns),
    )
    if entry.state == "excluded":
        return entry
    unused = fact.told.unused and not known.user(entry.pid, fact.told.start_boot_ns)
    if entry.state == "captured" and unused and fact.told.tcp:
        missed = process.beside or UNKNOWN
        reason = f"what it sends isn't by {entry.library or 'its TLS library'}: {missed}"
        entry = msgspec.structs.replace(entry, state="partly", reason=reason, mend=process.mend)
    return _with_quic(entry, fact) if fact.told.quic else entry


def _with_quic(entry: CoverageEntry, fact: Fact) -> CoverageEntry:
    if entry.state == "not_captured" and not fact.told.tcp:
        return msgspec.structs.replace(entry, reason=QUIC, mend=MEND_QUIC, pending=False)
    reasons = "; ".join(filter(None, (entry.reason, QUIC)))
    mends = "; ".join(filter(None, (entry.mend, MEND_QUIC)))
    state = "partly" if entry.state == "captured" else entry.state
    return msgspec.structs.replace(entry, state=state, reason=reasons, mend=mends)


def _evidence(fact: Fact) -> str:
    kinds = (("TLS records on TCP", fact.told.tcp), ("a QUIC handshake on UDP", fact.told.quic))
    return " and ".join(name for name, seen in kinds if seen)
