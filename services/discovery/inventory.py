"""The node's full desired state from what was found: one target a real file, one entry a process.

Pure. Knows how findings become Targets; not how files are found, opened or disassembled.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec
from msgspec import Struct

from services.discovery.code import stacks
from services.discovery.code.stacks import Stack
from services.messages import Container, FileIdentity, Site, Target, Targets, TlsFamily, TlsProcess

T = TypeVar("T")
_ROOM_TO_COUNT = 40  # bytes that larger counts may take
UNREADABLE = "discovery is not permitted to read what it has mapped"
MEND_UNREADABLE = "run discovery as root with CAP_SYS_PTRACE in the host's PID namespace"
UNKNOWN = "no TLS code that is known is in it: it relays TLS of others, or has its own"
ENDED_UNSEEN = "it ended before it could be looked at"
ENDED = "it has ended, and nothing of it was captured"


class Finding(Struct, frozen=True, kw_only=True):
    """What one real file holds, by whatever path it is reached."""

    identity: FileIdentity
    family: TlsFamily | None = None  # None where it holds no TLS code that is known
    library: str = ""
    sites: tuple[Site, ...] = ()
    omitted: tuple[tuple[str, str], ...] = ()
    reason: str = ""  # why there are no sites

    def is_tls(self) -> bool:
        return self.family is not None and (self.covers() or not self.sites)

    def covers(self) -> bool:
        """Whether it is TLS that is captured: libcrypto has sites, too."""
        return any(site.operation in ("read", "write") for site in self.sites)


class Reach(Struct, frozen=True, kw_only=True):
    """One way to a file. `path` opens it from the host; `name` is what its users call it."""

    finding: Finding
    path: str
    name: str


class Seen(Struct, frozen=True, kw_only=True):
    """A process that has TLS code mapped."""

    pid: int
    start_boot_ns: int
    process: str
    reaches: tuple[Reach, ...]
    container: Container = Container(id="")
    on_wire: bool = False  # TLS of it goes over sockets past all probes
    stacks: tuple[Stack, ...] = ()  # what is in it besides what is probed; only where on_wire
    unreadable: bool = False
    ended: str = ""  # what is to be said of one that is gone, where nothing better is known
    had: str = ""  # the library that was in it, of one that is gone
    besides: tuple[Reach, ...] = ()  # libcrypto: no TLS, but it tells where TLS goes


def targets(node: str, time_ns: int, standing: Iterable[Reach], seen: Iterable[Seen]) -> Targets:
    """`standing` files are targets before any process maps them."""
    processes = sorted(seen, key=lambda p: (p.start_boot_ns, p.pid))
    reaches = [*standing, *(r for process in processes for r in process.reaches + process.besides)]
    return Targets(
        node=node,
        time_ns=time_ns,
        targets=_targets(reaches),
        processes=tuple(_process(process) for process in processes),
        containers=_containers(processes),
    )


def is_news(published: Targets | None, state: Targets, repeat_ns: int) -> bool:
    """Whether the state has to be published: changed, or said too long ago."""
    if published is None or state.time_ns - published.time_ns >= repeat_ns:
        return True
    return (state.targets, state.processes, state.containers) != (
        published.targets,
        published.processes,
        published.containers,
    )


def fitting(state: Targets, max_bytes: int) -> Targets:
    """The state as one message: targets matter more than the list of processes. What finds no
    room is counted in it."""
    excess = len(msgspec.json.encode(state)) - max_bytes
    if excess <= 0:
        return state
    excess += _ROOM_TO_COUNT
    processes, excess = _cut(state.processes, excess)
    targets, _ = _cut(state.targets, excess)
    return msgspec.structs.replace(
        state,
        processes=processes,
        targets=targets,
        untold_processes=len(state.processes) - len(processes),
        untold_targets=len(state.targets) - len(targets),
    )


def _cut(items: tuple[T, ...], excess: int) -> tuple[tuple[T, ...], int]:
    kept = list(items)
    while kept and excess > 0:
        excess -= len(msgspec.json.encode(kept.pop())) + 1
    return tuple(kept), excess


def _containers(processes: list[Seen]) -> tuple[Container, ...]:
    """What is more than the id, which capture knows by itself."""
    known = {
        p.container.id: p.container for p in processes if p.container.name or p.container.image
    }
    return tuple(known[identity] for identity in sorted(known))


def _targets(reaches: list[Reach]) -> tuple[Target, ...]:
    best: dict[FileIdentity, Reach] = {}
    for reach in reaches:
        kept = best.setdefault(reach.finding.identity, reach)
        if _lasting(reach.path) < _lasting(kept.path):
            best[reach.finding.identity] = reach
    return tuple(_target(reach) for _, reach in sorted(best.items()) if reach.finding.sites)


def _lasting(path: str) -> int:
    """A host path outlives a process' root, and that outlives one mapping."""
    return 0 if not path.startswith("/proc/") else 2 if "/map_files/" in path else 1


def _target(reach: Reach) -> Target:
    return Target(
        identity=reach.finding.identity,
        path=reach.path,
        name=reach.name,
        family=reach.finding.family or "openssl",
        library=reach.finding.library,
        sites=reach.finding.sites,
        omitted=reach.finding.omitted,
    )


def _process(seen: Seen) -> TlsProcess:
    """A process is named by its libraries that can be probed, else by why none can."""
    covered = next((r for r in seen.reaches if r.finding.covers()), None)
    reach = covered or next(iter(seen.reaches), None)
    return TlsProcess(
        pid=seen.pid,
        start_boot_ns=seen.start_boot_ns,
        process=seen.process,
        target=covered.finding.identity.key() if covered else "",
        library=libraries(seen.reaches) or _unprobed(seen, reach),
        reason="" if covered else _reason(seen, reach),
        mend=_mend(seen),
        seen_on_wire=seen.on_wire,
        beside=stacks.phrase(seen.stacks) if covered else "",
        container_id=seen.container.id,
    )


def libraries(reaches: Iterable[Reach]) -> str:
    """All that can be probed: which of them speaks, only its connections tell."""
    found = (reach.finding.library for reach in reaches if reach.finding.covers())
    return ", ".join(dict.fromkeys(filter(None, found)))


def _unprobed(seen: Seen, reach: Reach | None) -> str:
    return reach.finding.library if reach else seen.had or stacks.library(seen.stacks)


def _reason(seen: Seen, reach: Reach | None) -> str:
    """Of a process that nothing covers."""
    reasons = [f"{reach.name}: {reach.finding.reason}"] if reach else []
    if seen.unreadable:
        reasons.append(UNREADABLE)
    if seen.stacks:
        reasons.append(f"{stacks.phrase(seen.stacks)}: no probe reads it")
    return "; ".join(reasons) or seen.ended or UNKNOWN


def _mend(seen: Seen) -> str:
    if seen.unreadable:
        return MEND_UNREADABLE
    if seen.ended and not seen.stacks:
        return ""
    return stacks.mend(seen.stacks) if seen.stacks or not seen.on_wire else stacks.OTHER_END
