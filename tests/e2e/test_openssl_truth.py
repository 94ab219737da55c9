"""What C programs did with OpenSSL, byte for byte as they logged it themselves.

Partial and tiny and huge writes, calls made again, threads, fibers and owners that share a
connection, handshakes and keys in the middle, early data, peeks; OpenSSL 1.1, 3.0 and 3.5, and with
the sites that are chosen where uretprobes kill.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from services.discovery.code.probing import Returns
from services.messages import ServiceLedger, Targets
from tests.support import truths
from tests.support.capturing import Capture, Delivered, capturing, until
from tests.support.tls_builds import Build, build

SCENARIOS = {
    "writing": ("partial", "bytewise", "large", "retries"),
    "sharing": ("threads", "fibers", "references"),
    "midway": ("keyupdate", "renegotiation", "early", "peek"),
}


def only(made: Build, uretprobes: Returns = Returns.STILL) -> Targets:
    return Targets(node="here", time_ns=0, targets=(made.target(uretprobes),))


async def check(capture: Capture, made: Build, folder: Path, words: tuple[str, str]) -> Delivered:
    """Runs a scenario; afterwards capture has what the program says that it said."""
    program, scenario = words
    certificate = folder / "both.pem"
    place = folder / f"{program}-{scenario}"
    os.mkdir(place)
    pid, _ = await truths.run(made, place, program, scenario, str(certificate))
    delivered = await capture.tick()
    same = truths.delivered_of(delivered, pid) == truths.said(place)
    assert same, f"{program} {scenario}: {delivered.lost()} bytes lost"
    opened = [delivered.opened[connection] for connection in delivered.of(pid)]
    assert not any(one.mid_connection for one in opened)
    await until(lambda: all(one.connection in delivered.closed for one in opened))
    assert all(delivered.closed[one.connection].reason == "freed" for one in opened)
    return delivered


@pytest.mark.parametrize("uretprobes", list(Returns), ids=[one.value for one in Returns])
@pytest.mark.parametrize("version", ["host", "1.1.1", "3.5"])
async def test_capture_has_what_the_program_says(
    tmp_path: Path, version: str, uretprobes: Returns
) -> None:
    made = build(version, tmp_path / "build")
    truths.certificate(tmp_path)
    for program in SCENARIOS:
        made.compile(program)
    wanted = only(made, uretprobes)
    # The rings have room for everything: here no byte may depend on how busy the machine is.
    async with capturing(tmp_path, wanted, ring_mib=256) as capture:
        for program, scenarios in SCENARIOS.items():
            for scenario in scenarios:
                if scenario == "fibers" and uretprobes is Returns.ALWAYS:
                    continue  # the kernel's return probes are the end of such a program
                delivered = await check(capture, made, tmp_path, (program, scenario))
        assert delivered.lost() == delivered.unannounced == 0
        assert delivered.seen() == delivered.delivered()
        told = msgspec.json.decode(await capture.ask("ledger"), type=ServiceLedger)
        assert told.counters["calls_unmatched"] == 0
