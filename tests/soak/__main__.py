"""Proofs that take minutes. Each is a subcommand; its module has one function that fails or not.

scripts/soak restart [--kills 50] [--rate 500]     parse and collect, real captured traffic
scripts/soak kills [--kills 50]                    capture, under a target's full load
scripts/soak cycles [--cycles 1000]                probes attached and detached
scripts/soak cluster                               leaders of three servers, R3 streams
scripts/soak duplicates                            of three servers, without our services
scripts/soak bus                                   a single server that forgets everything
scripts/soak model [--examples 5000]               crashes between any two awaits, in memory
scripts/soak steady [--minutes 10]                 capture's memory under load
scripts/soak away [--away 60] [--rate 500]         capture, while there is no server
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from tests.soak import away, duplicates, harmless, model, repeated, restart, steady

Proof = Callable[[argparse.Namespace], None]

PROOFS: dict[str, Proof] = {
    "restart": restart.run,
    "kills": harmless.kills,
    "cycles": harmless.cycles,
    "cluster": repeated.cluster,
    "duplicates": duplicates.run,
    "bus": repeated.bus,
    "model": model.run,
    "steady": steady.run,
    "away": away.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("proof", choices=sorted(PROOFS))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--cycles", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=500, help="exchanges a second")
    parser.add_argument("--examples", type=int, default=5_000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--away", type=float, default=60, help="seconds without a server")
    given = parser.parse_args()
    begun = time.monotonic()
    try:
        PROOFS[given.proof](given)
    except AssertionError as error:
        sys.stdout.write(f"{given.proof}: FAILED {str(error)[:2000]}\n")
        return 1
    sys.stdout.write(f"{given.proof}: passed in {time.monotonic() - begun:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
