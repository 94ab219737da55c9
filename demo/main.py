"""The demo: real programs under `plainwire run`, a readable line a witness, and the reckoning.

Ends with status 0 only if every request that was sent became a witness on both sides, once.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from services.cli.rendering import witness_line
from services.messages import Role, Witness

PLAINWIRE = Path(sys.executable).with_name("plainwire")


def witnessed(folder: Path) -> tuple[int, list[Witness]]:
    """plainwire's exit status and every witness; each is shown as it comes."""
    workload = [sys.executable, "-m", "demo.traffic", str(folder)]
    command = [str(PLAINWIRE), "run", "--json", "--", *workload]
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as plainwire:
        assert plainwire.stdout is not None
        for line in plainwire.stdout:
            witness = msgspec.json.decode(line, type=Witness)
            print(witness_line(witness), flush=True)
            found.append(witness)
    return plainwire.returncode, found


def counted(witnesses: list[Witness], role: Role) -> Counter[str]:
    """How many complete witnesses each request has on one side."""
    ids = Counter[str]()
    for witness in witnesses:
        if witness.role == role and witness.request and witness.state == "complete":
            headers = dict(witness.request.headers)
            ids[headers.get("x-request-id") or "a request of nobody's"] += 1
    return ids


def reckon(sent: list[str], witnesses: list[Witness]) -> bool:
    """Prints how many requests became witnesses; whether all did, and nothing else."""
    expected, good = Counter(sent), True
    print(f"\n{len(sent)} requests sent")
    for role in ("client", "server"):
        ids = counted(witnesses, role)
        print(f"{ids.total()} witnesses of the {role}s", flush=True)
        for identity in (expected - ids) + (ids - expected):
            print(f"  {identity}: sent {expected[identity]}, witnessed {ids[identity]}")
        good = good and ids == expected
    return good and bool(sent)


def main() -> int:
    print(
        "a private nats-server and four services: discovery, capture, parse, collect;\n"
        "under them a TLS server and five clients: curl over HTTP/1.1 and HTTP/2, Python's\n"
        "http.client, requests, and asyncio over HTTP/2\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="plainwire-demo-") as top:
        status, witnesses = witnessed(Path(top))
        sent = Path(top, "sent")
        good = reckon(sent.read_text().split() if sent.exists() else [], witnesses)
    if status:
        print(f"plainwire run ended with status {status}")
    return 0 if good and status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
