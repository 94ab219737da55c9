"""What a host must have, judged from facts about it: each check is a line, with its mend. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal

from msgspec import Struct

from services import clusters

Level = Literal["ok", "warn", "fail"]
OLDEST_KERNEL = (5, 12)  # BPF compare-and-swap, which records take their room in a ring by
OLDEST_NATS = (2, 9)
# (first, last, what is wrong): kernels on which uprobes or ring buffers are known to misbehave.
BAD_KERNELS: tuple[tuple[tuple[int, ...], tuple[int, ...], str], ...] = ()
# Likewise, but capture does without what misbehaves there: what that is, and what it does instead.
QUIRKS: tuple[tuple[tuple[int, ...], tuple[int, ...], Level, str, str], ...] = (
    (
        (6, 11), (6, 13, 999), "warn", "return probes",
        "they kill what runs under a strict seccomp filter: RETs are probed, which is dearer",
    ),
    (
        (6, 13), (999,), "ok", "preemption",
        "programs with 64 bytes of stack or more may panic where it is full or lazy: none has",
    ),
    (
        (6, 18), (999,), "ok", "nop5 probes",
        "they may overwrite a function's red zone: no probe is put on a long nop within a function",
    ),
)  # fmt: skip
MIB = 1 << 20

# linux/capability.h
CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 19, 21, 38, 39
NEEDED = {
    CAP_SYS_ADMIN: "CAP_SYS_ADMIN",  # the private mount namespace of run and up
    CAP_SYS_PTRACE: "CAP_SYS_PTRACE",
    CAP_PERFMON: "CAP_PERFMON",
    CAP_BPF: "CAP_BPF",
}


class BusFacts(Struct, frozen=True, kw_only=True):
    """What answered at a configured NATS URL. `problem` is a whole line, with its mend."""

    url: str
    problem: str = ""
    version: str = ""
    jetstream: bool = False
    memory: int = 0  # bytes that the server gives a memory stream, as far as they were asked for
    missing: tuple[str, ...] = ()  # streams not declared yet
    needed: int = 0  # bytes of memory that those want
    replicas: int = 1  # on how many servers the streams are that are there


class Facts(Struct, frozen=True, kw_only=True):
    capabilities: int
    root: bool
    kernel: str
    machine: str
    btf: bool
    bcc: str  # "" where it can be imported, else why not
    python: str
    headers: str  # "" where some are found, else why not
    tracefs: Literal["mounted", "mountable", "absent"]
    uprobes: bool
    nats_server: str | None
    nats_version: str
    first_pid_namespace: bool
    lockdown: str
    tls_libraries: tuple[str, ...]
    bus: BusFacts | None = None


class Finding(Struct, frozen=True):
    level: Level
    subject: str
    text: str
    mend: str = ""


def lacking(capabilities: int) -> list[str]:
    """Of a bit set of capabilities, the names of those that it has not."""
    return [name for bit, name in NEEDED.items() if not capabilities >> bit & 1]


def privileges(facts: Facts) -> Finding:
    if not (names := lacking(facts.capabilities)):
        return Finding("ok", "privileges", "root" if facts.root else ", ".join(NEEDED.values()))
    mend = "give them to this process" if facts.root else "run as root"
    return Finding("fail", "privileges", f"{', '.join(names)} missing", mend)


def kernel(facts: Facts) -> Finding:
    version = numbers(facts.kernel)[:3]
    if version < OLDEST_KERNEL:
        return Finding("fail", "kernel", facts.kernel, "5.12 or newer is needed (BPF atomics)")
    for oldest, newest, problem in BAD_KERNELS:
        if oldest <= version <= newest:
            return Finding("fail", "kernel", f"{facts.kernel}: {problem}", "use another kernel")
    return Finding("ok", "kernel", f"{facts.kernel} {facts.machine}")


def machine(facts: Facts) -> Finding:
    if facts.machine == "x86_64":
        return Finding("ok", "machine", facts.machine)
    if facts.machine == "aarch64":
        mend = "compare `plainwire ledger` with what your programs say"
        return Finding("warn", "machine", "aarch64: supported, but not tried on hardware", mend)
    return Finding("fail", "machine", facts.machine, "probe sites are chosen on x86_64 and aarch64")


def btf(facts: Facts) -> Finding:
    if facts.btf:
        return Finding("ok", "BTF", "/sys/kernel/btf/vmlinux")
    return Finding(
        "warn", "BTF", "/sys/kernel/btf/vmlinux is absent", "a kernel with CONFIG_DEBUG_INFO_BTF"
    )


def bcc(facts: Facts) -> Finding:
    if not facts.bcc:
        return Finding("ok", "bcc", f"importable in {facts.python}")
    mend = (
        "apt-get install python3-bpfcc, and run plainwire in a venv of /usr/bin/python3 made with "
        "--system-site-packages"
    )
    return Finding("fail", "bcc", facts.bcc, mend)


def headers(facts: Facts) -> Finding:
    if not facts.headers:
        return Finding("ok", "kernel headers", "found")
    mend = "apt-get install linux-headers-amd64 (any version serves), or set BCC_KERNEL_SOURCE"
    return Finding("fail", "kernel headers", facts.headers, mend)


def tracefs(facts: Facts) -> Finding:
    match facts.tracefs:
        case "mounted":
            return Finding("ok", "tracefs", "mounted")
        case "mountable":
            return Finding("ok", "tracefs", "not mounted; plainwire mounts it for itself")
        case "absent":
            mend = "mount -t tracefs tracefs /sys/kernel/tracing (CONFIG_FTRACE)"
            return Finding("fail", "tracefs", "can't be mounted", mend)


def uprobes(facts: Facts) -> Finding:
    if facts.uprobes:
        return Finding("ok", "uprobes", "the kernel has them")
    return Finding("fail", "uprobes", "the kernel has none", "a kernel with CONFIG_UPROBE_EVENTS")


def lockdown(facts: Facts) -> Finding:
    if facts.lockdown != "confidentiality":
        return Finding("ok", "lockdown", facts.lockdown or "none")
    return Finding(
        "fail", "lockdown", "confidentiality forbids reading memory from BPF",
        "boot with lockdown=integrity or none",
    )  # fmt: skip


def pid_namespace(facts: Facts) -> Finding:
    if facts.first_pid_namespace:
        return Finding("ok", "PID namespace", "the host's")
    return Finding(
        "warn", "PID namespace", "a container's: processes have other numbers in the kernel",
        "run the container with the host's PID namespace (docker: --pid=host)",
    )  # fmt: skip


def libraries(facts: Facts) -> Finding:
    if facts.tls_libraries:
        return Finding("ok", "TLS library", ", ".join(facts.tls_libraries))
    return Finding(
        "warn",
        "TLS library",
        "the system has neither libssl nor libgnutls",
        "only bundled libraries can be captured",
    )


def nats_server(facts: Facts) -> Finding:
    if facts.nats_server is None:
        mend = "apt-get install nats-server (run, and up without --nats, start one)"
        level: Level = "fail" if facts.bus is None else "warn"
        return Finding(level, "nats-server", "not installed", mend)
    what = f"{facts.nats_version or 'unknown version'}, {facts.nats_server}"
    if facts.nats_version and numbers(facts.nats_version) < OLDEST_NATS:
        return Finding("fail", "nats-server", what, "2.9 or newer is needed")
    return Finding("ok", "nats-server", what)


def bus(facts: Facts) -> Finding:
    found = facts.bus
    if found is None:
        return Finding("ok", "bus", "none is configured; run and up start their own")
    if found.problem:
        return Finding("fail", "bus", found.problem)
    if numbers(found.version) < OLDEST_NATS:
        mend = "2.9 or newer is needed"
        return Finding("fail", "bus", f"{found.url} runs nats-server {found.version}", mend)
    if not found.jetstream:
        return Finding("fail", "bus", f"JetStream is off on {found.url}", "nats-server -js")
    if warning := clusters.unsafe(numbers(found.version), found.replicas):
        return Finding("warn", "bus", f"{found.url}: {warning}")
    return Finding("ok", "bus", f"{found.url}, nats-server {found.version}, JetStream")


def bus_memory(facts: Facts) -> Finding | None:
    found = facts.bus
    if found is None or found.problem or not found.jetstream:
        return None
    if not found.missing:
        return Finding("ok", "bus memory", "all streams are declared")
    if found.memory >= found.needed:
        return Finding("ok", "bus memory", f"{found.needed // MIB} MiB for streams to be made")
    level: Level = "warn" if found.memory >= found.needed // 8 else "fail"
    streams = ", ".join(found.missing)
    return Finding(
        level, "bus memory",
        f"{found.memory // MIB} MiB free, {streams} want {found.needed // MIB} MiB",
        "raise jetstream max_memory_store; with less, shorter outages lose data",
    )  # fmt: skip


CHECKS: tuple[Callable[[Facts], Finding | None], ...] = (
    privileges,
    kernel,
    machine,
    btf,
    bcc,
    headers,
    tracefs,
    uprobes,
    lockdown,
    pid_namespace,
    libraries,
    nats_server,
    bus,
    bus_memory,
)


def quirks(facts: Facts) -> Iterator[Finding]:
    version = numbers(facts.kernel)
    for oldest, newest, level, subject, text in QUIRKS:
        if oldest <= version <= newest:
            yield Finding(level, subject, text)


def diagnose(facts: Facts) -> Iterator[Finding]:
    for check in CHECKS:
        if (finding := check(facts)) is not None:
            yield finding
    yield from quirks(facts)


def line(finding: Finding) -> str:
    mend = f"; mend: {finding.mend}" if finding.mend else ""
    return f"{finding.level:4} {finding.subject}: {finding.text}{mend}"


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers: `6.1.0-56-amd64` -> (6, 1, 0)."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found[1].split("."))) if found else ()
