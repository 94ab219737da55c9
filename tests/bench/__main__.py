"""All figures of one run, as a table; `BENCH_JSON=FILE` writes the same as JSON.

Ratios are the figures to quote: the rounds of the ways that are compared are interleaved.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from tests.bench import (
    folding,
    golang,
    latency,
    load,
    overload,
    parse_scale,
    scanning,
    sighting,
    snapshots,
    throughput,
)


def nginx(rounds: int, seconds: float) -> dict[str, float]:
    chosen = ("bare", "empty", "first_byte", "kept", "all")
    tiny = throughput.measure(rounds, seconds, only=chosen)
    large = throughput.measure(max(1, rounds // 2), seconds, "/large", ("bare", "kept", "budget"))
    return {
        "nginx_bare_requests_per_second": tiny["bare"]["requests_per_second"],
        "nginx_kept": tiny["kept"]["kept"],
        "nginx_kept_lost": tiny["kept"]["lost"],
        "nginx_kept_all": tiny["all"]["kept"],
        "nginx_kept_empty": tiny["empty"]["kept"],
        "nginx_kept_first_byte": tiny["first_byte"]["kept"],
        "nginx_kept_over_first_byte": tiny["kept"]["kept"] / tiny["first_byte"]["kept"],
        "nginx_kept_100_kib": large["budget"]["kept"],
        "nginx_kept_100_kib_shed": large["budget"]["shed"],
        "nginx_kept_100_kib_lost": large["budget"]["lost"],
        "nginx_kept_100_kib_no_budget": large["kept"]["kept"],
        "nginx_kept_100_kib_no_budget_lost": large["kept"]["lost"],
    }


def stages(rounds: int) -> dict[str, float]:
    found = {}
    for name, generate in folding.LOADS.items():
        parse, collect = folding.measure(folding.record(generate), rounds)
        found |= {f"parse_{name}": parse, f"collect_{name}": collect}
    return found


def wire_to_witness() -> dict[str, object]:
    services = ("discovery", "capture", "parse", "collect")
    with (
        tempfile.TemporaryDirectory() as folder,
        load.nginx(Path(folder)) as port,
        throughput.capturing(services) as running,
    ):
        return {"wire_to_witness_ms": latency.measure(running.url, port)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    options = parser.parse_args()
    figures: dict[str, object] = {}
    figures |= nginx(options.rounds, options.seconds)
    figures |= golang.measure(options.rounds, options.seconds)
    figures |= stages(options.rounds)
    figures |= parse_scale.measure(options.rounds)
    figures |= wire_to_witness()
    figures |= overload.measure(2 * options.seconds)
    figures |= snapshots.measure(options.rounds)
    figures |= scanning.measure(options.rounds)
    figures |= sighting.measure()
    for name, value in figures.items():
        sys.stdout.write(f"{name:32} {_shown(value)}\n")
    if path := os.environ.get("BENCH_JSON"):
        Path(path).write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_shown(v)}" for key, v in value.items())
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
