"""What doctor says about a host, from facts. Not: how facts are gathered."""

from __future__ import annotations

import msgspec
import pytest

from services.capture.child import kernel
from services.cli import checks
from services.cli.checks import MIB, BusFacts, Facts

GOOD = Facts(
    capabilities=(1 << 64) - 1,
    root=True,
    kernel="6.1.0-56-amd64",
    machine="x86_64",
    btf=True,
    bcc="",
    python="/usr/bin/python3",
    headers="",
    tracefs="mounted",
    uprobes=True,
    nats_server="/usr/sbin/nats-server",
    nats_version="2.9.10",
    first_pid_namespace=True,
    lockdown="none",
    tls_libraries=("/usr/lib/x86_64-linux-gnu/libssl.so.3",),
)
BUS = BusFacts(url="h:4222", version="2.9.10", jetstream=True, missing=("RAW",), needed=256 * MIB)


def test_a_good_host_has_nothing_to_mend() -> None:
    assert {finding.level for finding in checks.diagnose(GOOD)} == {"ok"}


def bus(**changes: object) -> dict[str, object]:
    return {"bus": msgspec.structs.replace(BUS, **changes)}


@pytest.mark.parametrize(
    ("changes", "level", "subject", "words"),
    [
        ({"capabilities": 0, "root": False}, "fail", "privileges", "run as root"),
        ({"capabilities": ~(1 << 39)}, "fail", "privileges", "CAP_BPF missing"),
        ({"kernel": "5.4.0-100"}, "fail", "kernel", "5.12 or newer"),
        ({"machine": "riscv64"}, "fail", "machine", "x86_64"),
        ({"btf": False}, "warn", "BTF", "CONFIG_DEBUG_INFO_BTF"),
        ({"bcc": "not importable"}, "fail", "bcc", "python3-bpfcc"),
        ({"headers": "none found"}, "fail", "kernel headers", "linux-headers-amd64"),
        ({"tracefs": "absent"}, "fail", "tracefs", "mount -t tracefs"),
        ({"uprobes": False}, "fail", "uprobes", "CONFIG_UPROBE_EVENTS"),
        ({"lockdown": "confidentiality"}, "fail", "lockdown", "integrity"),
        ({"first_pid_namespace": False}, "warn", "PID namespace", "--pid=host"),
        ({"tls_libraries": ()}, "warn", "TLS library", "bundled"),
        ({"nats_server": None}, "fail", "nats-server", "apt-get install nats-server"),
        ({"nats_version": "2.8.4"}, "fail", "nats-server", "2.9 or newer"),
        (bus(problem="no NATS server answers at h:1"), "fail", "bus", "no NATS server answers"),
        (bus(version="2.8.0"), "fail", "bus", "2.9 or newer"),
        (bus(replicas=3), "warn", "bus", "nats_replicas > 1 needs 2.12"),
        (bus(replicas=3, version="2.15.2"), "ok", "bus", "2.15.2"),
        (bus(jetstream=False), "fail", "bus", "nats-server -js"),
        (bus(memory=64 * MIB), "warn", "bus memory", "max_memory_store"),
        (bus(memory=MIB), "fail", "bus memory", "1 MiB free, RAW want 256 MiB"),
        (bus(memory=0, missing=()), "ok", "bus memory", "declared"),
        (bus(memory=256 * MIB), "ok", "bus memory", "256 MiB"),
        ({"tracefs": "mountable"}, "ok", "tracefs", "mounts it for itself"),
    ],
)
def test_each_problem_is_a_line_with_its_mend(
    changes: dict[str, object], level: str, subject: str, words: str
) -> None:
    found = {f.subject: f for f in checks.diagnose(msgspec.structs.replace(GOOD, **changes))}
    assert found[subject].level == level
    assert words in checks.line(found[subject])


def test_doctor_asks_for_the_kernel_that_capture_asks_for() -> None:
    assert checks.OLDEST_KERNEL == kernel.OLDEST


def test_no_embedded_server_is_needed_where_a_bus_answers() -> None:
    facts = msgspec.structs.replace(GOOD, nats_server=None, bus=BUS)
    assert checks.nats_server(facts).level == "warn"


def test_a_known_bad_kernel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "BAD_KERNELS", (((6, 1), (6, 1, 99), "loses events"),))
    assert checks.kernel(GOOD).text == "6.1.0-56-amd64: loses events"


def test_version_numbers_are_read_from_the_front() -> None:
    assert checks.numbers("6.18.44-custom-v2") == (6, 18, 44)
    assert checks.numbers("v2.9.10") == (2, 9, 10)
    assert checks.numbers("unknown") == ()


def test_what_a_kernel_does_wrong_is_said_with_what_is_done_instead() -> None:
    def subjects(kernel: str) -> dict[str, str]:
        found = checks.quirks(msgspec.structs.replace(GOOD, kernel=kernel))
        return {finding.subject: finding.level for finding in found}

    assert subjects("6.10.3") == {}
    assert subjects("6.12.9-amd64") == {"return probes": "warn"}
    assert subjects("6.13.0") == {"return probes": "warn", "preemption": "ok"}
    assert subjects("6.18.44") == {"preemption": "ok", "nop5 probes": "ok"}
