"""Capturing under more load than there is time for: what is lost, what comes out, who waits.

Each load runs bare, with capture alone, and with the whole pipeline on the same cores and its
default budget. Shed is not lost: it is decided, whole connections at a time, and counted.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.ledgers import bytes_hold, exchanges_hold
from tests.bench import load
from tests.bench.throughput import capturing
from tests.support.pipeline import Pipeline

RATES = (1_000, 3_000, 8_000)
CAPTURE = ("discovery", "capture")
EVERYTHING = (*CAPTURE, "parse", "collect")
SETTLE = 180.0  # seconds
# An exchange of a connection that is shed ends so; the load's own end cuts off its last requests.
_WHOLE = ("shed", "no_response")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Served:
    """By the program under load, in milliseconds."""

    requests: int
    p50: float
    p99: float


Load = Callable[[int, float], Served]


def wrk(port: int, seconds: float) -> Served:
    url = f"https://127.0.0.1:{port}/"
    command = ["wrk", "-t1", f"-c{load.CONNECTIONS}", f"-d{round(seconds)}s", "--latency", url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (requests,) = re.findall(r"(\d+) requests in", out)
    found = {share: float(n) * _UNITS[u] for share, n, u in _LATENCY.findall(out)}
    return Served(int(requests), found["50"], found["99"])


_LATENCY = re.compile(r"(\d\d)%\s+([\d.]+)(us|ms|s)\b")


def h2load(rate: int) -> Load:
    """So many requests a second, over HTTP/2."""

    def run(port: int, seconds: float) -> Served:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            command = [
                *("h2load", "-t1", f"-c{load.CONNECTIONS}", "-m32", f"--log-file={log}"),
                *(f"-n{int(rate * seconds)}", f"--rps={rate / load.CONNECTIONS:g}"),
                f"https://127.0.0.1:{port}/",
            ]
            subprocess.run(command, capture_output=True, check=True)
            times = sorted(int(line.split()[2]) / 1e3 for line in log.read_text().splitlines())
        return Served(len(times), times[len(times) // 2], times[int(len(times) * 0.99)])

    return run


LOADS: dict[str, Load] = {"wrk": wrk, **{f"h2load_{rate}": h2load(rate) for rate in RATES}}


def measure(seconds: float, only: tuple[str, ...] = ()) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, run in LOADS.items():
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory() as folder, load.nginx(Path(folder)) as port:
            bare = run(port, seconds)
            figures = {"bare": _served(bare, bare)}
            with capturing(CAPTURE) as running:
                figures["capture"] = _served(run(port, seconds), bare) | _losses(running)
            with capturing(EVERYTHING) as running:
                served = run(port, seconds)
                figures["all"] = _served(served, bare) | _outcome(running, served)
        found[f"overload_{name}"] = figures
    return found


def _served(served: Served, bare: Served) -> dict[str, object]:
    return {
        "requests": served.requests,
        "kept": served.requests / bare.requests,
        "p50_ms": served.p50,
        "p99_ms": served.p99,
    }


def _losses(running: Pipeline) -> dict[str, object]:
    """Shares of the bytes that were seen; the sums must hold to the byte."""
    running.ask("capture", "tick")
    found = running.ledger("capture")
    assert found.bytes is not None
    seen = max(1, found.bytes.seen)
    return {
        "lost": sum(found.bytes.gaps.values()) / seen,
        "shed": found.bytes.shed / seen,
        "exact": found.bytes.in_flight == 0,
    }


def _outcome(running: Pipeline, served: Served) -> dict[str, object]:
    """What became of all exchanges of both ends, and whether both equations hold."""
    running.settle(SETTLE)
    parse, collect = running.ledger("parse").bytes, running.ledger("collect").exchanges
    assert parse is not None
    assert collect is not None
    return _losses(running) | {
        "holds": bytes_hold(parse) and exchanges_hold(collect),
        "gaps": parse.gaps,
        "complete": collect.complete,
        "complete_share": collect.complete / (2 * served.requests),
        "partial": collect.partial,
        "open": collect.open,
        "torn": sum(n for reason, n in collect.partial.items() if reason not in _WHOLE),
    }
