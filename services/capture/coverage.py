"""What capture tells people about each process with TLS: captured, excluded, or why not. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from services.messages import Coverage, CoverageEntry, CoverageState, Target, Targets, TlsProcess

EXCLUDED = "not among the processes to capture"


def describe(
    targets: Targets,
    attached: Mapping[str, Target],
    failed: Mapping[str, str],
    included: Callable[[int], bool],
    head: tuple[int, int],
) -> Coverage:
    """`failed` gives the reason by the target's key; `head` is (time, epoch)."""

    def entry(process: TlsProcess) -> CoverageEntry:
        state, reason = _state(process, attached, failed, included)
        file = attached[process.target].name if process.target in attached else ""
        return CoverageEntry(
            pid=process.pid, process=process.process, state=state, library=process.library,
            file=file, reason=reason,
        )  # fmt: skip

    names = {target.identity.key(): target.name for target in targets.targets}
    return Coverage(
        node=targets.node,
        time_ns=head[0],
        epoch=head[1],
        attached=tuple(attached.values()),
        processes=tuple(entry(process) for process in targets.processes),
        failed=tuple((names.get(key, key), reason) for key, reason in failed.items()),
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


def _state(
    process: TlsProcess,
    attached: Mapping[str, Target],
    failed: Mapping[str, str],
    included: Callable[[int], bool],
) -> tuple[CoverageState, str]:
    if not included(process.pid):
        return "excluded", EXCLUDED
    if process.target in attached:
        return "captured", ""
    if process.target in failed:
        return "not_captured", failed[process.target]
    return "not_captured", process.reason or "no target covers its TLS library yet"
