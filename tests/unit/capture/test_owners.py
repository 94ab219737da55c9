"""By what a connection's container is known, and what is learnt for good."""

from __future__ import annotations

import pytest

from services import procfs
from services.capture.child import owners
from services.capture.child.owners import Owners

A, B = "a" * 64, "b" * 64
IN_A = f"/sys/fs/cgroup/docker/{A}"
PID, NUMBER = 7, 1234


class Host:
    """What the number leads to, and what /proc says now; `own` tells which versions there are."""

    def __init__(self, path: str, text: str | None, own: str = "0::/\n") -> None:
        self.path, self.text, self.own = path, text, own

    def path_of(self, cgroup: int) -> str:
        return self.path

    def cgroup(self, pid: int) -> str | None:
        return self.text if pid == PID else self.own


def asked(monkeypatch: pytest.MonkeyPatch, host: Host) -> Owners:
    monkeypatch.setattr(owners, "path_of", host.path_of)
    monkeypatch.setattr(procfs, "cgroup", host.cgroup)
    return Owners()


def test_the_number_is_believed_where_the_process_has_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Host(IN_A, f"0::/docker/{B}\n")
    found = asked(monkeypatch, host)
    assert found.of(PID, NUMBER).id == A
    host.path, host.text = "", None
    assert found.of(PID, NUMBER).id == A


def test_none_is_learnt_where_the_number_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host("", None)
    found = asked(monkeypatch, host)
    assert found.of(PID, NUMBER).id == ""
    host.path = IN_A
    assert found.of(PID, NUMBER).id == A


def test_what_a_process_says_of_itself_is_not_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host("", f"0::/docker/{B}\n")
    found = asked(monkeypatch, host)
    assert found.of(PID, NUMBER).id == B
    host.path = IN_A
    assert found.of(PID, NUMBER).id == A


def test_who_was_in_none_does_not_become_a_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host("/sys/fs/cgroup/system.slice/x.service", f"0::/docker/{B}\n")
    found = asked(monkeypatch, host)
    assert found.of(PID, NUMBER).id == ""
    host.path = ""
    assert found.of(PID, NUMBER).id == ""  # learnt


def test_version_1_may_know_what_version_2_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    own = "4:memory:/\n0::/\n"
    host = Host("/sys/fs/cgroup/unified", f"4:memory:/docker/{B}\n0::/docker/{A}\n", own)
    found = asked(monkeypatch, host)
    assert found.of(PID, NUMBER).id == B
    host.text = own
    assert found.of(PID, NUMBER).id == ""


def test_what_is_learnt_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, Host(IN_A, None))
    for number in range(owners.MOST + 2):
        found.of(PID, number)
    assert len(found._by_cgroup) == owners.MOST
