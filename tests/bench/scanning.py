"""What discovery costs: a scan of a host with 500 processes, the first one and those that follow,
and what an idle node's services take of a core.

A tenth of the processes have TLS code mapped; the others are as small as processes are.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.discovery.scanning import Discovery
from services.discovery.settings import Settings
from tests.support import pipeline

PROCESSES, WITH_TLS = 500, 50
IDLE_SECONDS = 20.0
WITH = "import ssl, sys; print(flush=True); sys.stdin.read()"


@contextmanager
def crowd(small: int, with_tls: int) -> Iterator[None]:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WITH], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(with_tls)
    ]
    running += [subprocess.Popen(["cat"], stdin=subprocess.PIPE) for _ in range(small)]
    try:
        for process in running[:with_tls]:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in running:
            process.communicate()


def scans(rounds: int) -> dict[str, float]:
    """CPU seconds."""
    present = sum(name.isdecimal() for name in os.listdir("/proc"))
    with crowd(max(0, PROCESSES - present - WITH_TLS), WITH_TLS):
        discovery = Discovery(Settings(node="bench"), 1 << 20)
        took = []
        for _ in range(rounds + 1):
            begun = time.thread_time()
            discovery.look()
            took.append(time.thread_time() - begun)
    return {"scan_500_first_cpu_s": took[0], "scan_500_again_cpu_s": min(took[1:])}


def idle() -> dict[str, float]:
    """Percent of a core, of each service on a node that nothing happens on."""
    with tempfile.TemporaryDirectory() as name, pipeline.running(Path(name)) as line:
        time.sleep(5)
        pids = {service: tree(process.pid) for service, process in line.processes.items()}
        before = {service: sum(map(cpu, found)) for service, found in pids.items()}
        time.sleep(IDLE_SECONDS)
        after = {service: sum(map(cpu, found)) for service, found in pids.items()}
    return {
        f"idle_{service}_percent": 100 * (after[service] - before[service]) / IDLE_SECONDS
        for service in ("discovery", "capture")
    }


def tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in tree(int(child)))]


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(rounds: int = 3) -> dict[str, float]:
    return {**scans(rounds), **idle()}
