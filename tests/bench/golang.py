"""What a Go server keeps of its bare requests a second under h2load while it is captured.

Load and capture share the machine with it, and the load's own TLS is captured, too. Rounds are
interleaved, so ratios are what counts.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from tests.bench import load, throughput
from tests.support import go_builds, truths
from tests.support.go_builds import NEWEST, TRUTH
from tests.support.pipeline import Pipeline

PATHS = {"tiny": "/tiny", "large": "/large"}
WARM_UP = 1  # seconds, whole ones


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """The port of a server that answers /tiny with some bytes and /large with 100 KiB."""
    certificate = truths.certificate(folder)
    command = [str(go_builds.built(TRUTH, NEWEST)), str(certificate), "serve", str(folder / "log")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait(10)


def h2load(port: int, seconds: float, path: str) -> float:
    """HTTP/2 requests a second over some connections."""
    url = f"https://127.0.0.1:{port}{path}"
    warm = f"--warm-up-time={WARM_UP}"
    command = ["h2load", f"-D{round(seconds)}", warm, f"-c{load.CONNECTIONS}", "-m8", "-t1", url]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.findall(r"([\d.]+) req/s", printed)[0])


def ways() -> dict[str, AbstractContextManager[Pipeline | None]]:
    program = go_builds.built(TRUTH, NEWEST)
    capturing = partial(throughput.capturing, ("discovery", "capture"), waits_for=program)
    return {"bare": nullcontext(), "kept": capturing(budget=False), "budget": capturing()}


def measure(rounds: int, seconds: float) -> dict[str, float]:
    """Also what was lost otherwise than by the budget."""
    rates: dict[tuple[str, str], list[float]] = {}
    lost: list[float] = []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as port:
        for _ in range(rounds):
            for way, context in ways().items():
                with context as running:
                    for name, path in PATHS.items():
                        rate = h2load(port, seconds, path)
                        rates.setdefault((way, name), []).append(rate)
                    if running is not None:
                        lost.append(throughput.lost_share(running))
    middle = {key: statistics.median(found) for key, found in rates.items()}
    return {
        "go_bare_requests_per_second": middle["bare", "tiny"],
        "go_kept": middle["kept", "tiny"] / middle["bare", "tiny"],
        "go_kept_100_kib": middle["budget", "large"] / middle["bare", "large"],
        "go_kept_100_kib_no_budget": middle["kept", "large"] / middle["bare", "large"],
        "go_kept_lost": statistics.median(lost),
    }
