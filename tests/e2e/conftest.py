"""End to end: the real kernel. What can't run here is skipped, with the reason.

With `E2E_STRICT=1` (scripts/test sets it) a skipped test fails the run, unless the
machine itself can't do eBPF.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

_CAP_SYS_ADMIN, _CAP_BPF = 21, 39
_skipped: list[str] = []


def obstacle() -> str:
    """Why this machine can't run these tests, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    status = Path("/proc/self/status").read_text()
    capabilities = int(status.split("CapEff:")[1].split()[0], 16)
    if not capabilities & (1 << _CAP_BPF | 1 << _CAP_SYS_ADMIN):
        return "needs CAP_BPF"
    if importlib.util.find_spec("bcc") is None:
        return "needs python3-bpfcc"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    if reason := obstacle():
        for item in items:
            if item.path.is_relative_to(here):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    strict = os.environ.get("E2E_STRICT") == "1" and not obstacle()
    if strict and _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped and os.environ.get("E2E_STRICT") == "1" and not obstacle():
        terminalreporter.section("skipped, but this machine can run it", red=True)
        for name in _skipped:
            terminalreporter.line(name)
