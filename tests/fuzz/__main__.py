"""Looks for scenarios that break parse, led by coverage: `scripts/fuzz SECONDS`.

What it finds is put beside the seeds in tests/corpus/fuzz, where the unit tests play it from then
on; inputs that only reach new code stay in a folder of their own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["services.parse", "services.inflate"]):
    from tests.fuzz.scenario import play

SEEDS = Path(__file__).parents[1] / "corpus" / "fuzz"
FOUND = Path(os.environ.get("FUZZ_CORPUS", "/tmp/plainwire-fuzz"))


def main(seconds: int) -> None:
    FOUND.mkdir(exist_ok=True)
    arguments = [
        sys.argv[0], str(FOUND), str(SEEDS), f"-max_total_time={seconds}", "-max_len=8192",
        f"-artifact_prefix={SEEDS}/", "-timeout=20", "-report_slow_units=60",
        "-rss_limit_mb=1500", "-print_final_stats=1", "-verbosity=0",
    ]  # fmt: skip
    atheris.Setup(arguments, play)
    atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]))
