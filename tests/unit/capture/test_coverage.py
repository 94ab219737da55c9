"""What people are told about each process."""

from __future__ import annotations

from services.capture import coverage
from services.messages import CoverageEntry, FileIdentity, Target, Targets, TlsProcess

TARGET = Target(
    identity=FileIdentity(device=1, inode=2, size=3, mtime_ns=4), path="/p", name="/lib/libssl",
    family="openssl", library="openssl 3", sites=(),
)  # fmt: skip
KEY = TARGET.identity.key()


def entry(
    process: TlsProcess, *, attached: bool = True, failed: str = "", included: bool = True
) -> CoverageEntry:
    targets = Targets(node="n", time_ns=1, targets=(TARGET,), processes=(process,))
    told = coverage.describe(
        targets,
        {KEY: TARGET} if attached else {},
        {KEY: failed} if failed else {},
        lambda pid: included,
        (5, 6),
    )
    assert (told.node, told.time_ns, told.epoch) == ("n", 5, 6)
    (found,) = told.processes
    return found


def process(*, target: str = KEY, reason: str = "") -> TlsProcess:
    return TlsProcess(pid=7, start_boot_ns=1, process="app", target=target, reason=reason)


def test_a_process_whose_target_is_attached_is_captured() -> None:
    found = entry(process())
    assert (found.state, found.file, found.reason) == ("captured", "/lib/libssl", "")


def test_a_process_that_the_filter_leaves_out_is_excluded() -> None:
    assert entry(process(), included=False).state == "excluded"


def test_a_target_that_could_not_be_attached_says_why() -> None:
    found = entry(process(), attached=False, failed="no such file")
    assert (found.state, found.reason) == ("not_captured", "no such file")


def test_a_process_without_target_has_discovery_s_reason() -> None:
    found = entry(process(target="", reason="no symbols"))
    assert (found.state, found.reason) == ("not_captured", "no symbols")


def test_a_process_some_of_whose_connections_are_shed_is_partly_captured() -> None:
    targets = Targets(node="n", time_ns=1, targets=(TARGET,), processes=(process(),))
    told = coverage.describe(targets, {KEY: TARGET}, {}, lambda pid: True, (5, 6))
    (found,) = coverage.with_shed(told, {7: 3, 8: 1}).processes
    assert (found.state, found.file) == ("partly", "/lib/libssl")
    assert found.reason == "3 of its connections are shed, to stay within the budget"
    assert coverage.with_shed(told, {8: 1}) == told
