"""`plainwire doctor`: gathers facts, asks the bus where one is configured, prints findings."""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec

from services.cli import facts
from services.cli.checks import BusFacts, Finding, diagnose, line
from services.cli.errors import Failure
from services.cli.service import check_settings


def run(nats_url: str | None, config: str | None, *, as_json: bool) -> int:
    """0 where capture can work, else 1."""
    findings = list(diagnose(msgspec.structs.replace(facts.gather(), bus=_bus(nats_url, config))))
    try:
        check_settings(os.environ, config, 1)
    except Failure as failure:
        findings.append(Finding("fail", "settings", str(failure)))
    for finding in findings:
        text = msgspec.json.encode(finding).decode() if as_json else line(finding)
        sys.stdout.write(f"{text}\n")
    return int(any(finding.level == "fail" for finding in findings))


def _bus(nats_url: str | None, config: str | None) -> BusFacts | None:
    if not (nats_url or config or "PLAINWIRE_NATS_URL" in os.environ):
        return None
    from services.cli import bus_facts

    try:
        return asyncio.run(bus_facts.ask(nats_url, config))
    except Failure as failure:
        return BusFacts(url=nats_url or "", problem=str(failure))
