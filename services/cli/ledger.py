"""How the sums of all replicas are said: the two equations, and a run's last line. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from services import ledgers
from services.ledgers import bytes_hold, exchanges_hold
from services.messages import BytesLedger, ExchangeLedger, ServiceLedger

_SHARDS = ("service", "shard", "owner", "position", "lag", "snapshot age", "snapshot bytes")


def total_bytes(services: Iterable[ServiceLedger]) -> BytesLedger:
    """As parse has them. Capture's own equation is about the same bytes, one hop earlier."""
    return ledgers.total_bytes(
        service.bytes for service in services if service.bytes and service.service != "capture"
    )


def total_exchanges(services: Iterable[ServiceLedger]) -> ExchangeLedger:
    return ledgers.total_exchanges(service.exchanges for service in services if service.exchanges)


def ledger_lines(services: Iterable[ServiceLedger]) -> list[str]:
    """The equations with their figures, each followed by whether it holds."""
    services = list(services)
    b, e = total_bytes(services), total_exchanges(services)
    lines = [
        f"bytes: {b.seen} seen == {b.parsed} parsed + {b.opaque} opaque + "
        f"{sum(b.gaps.values())} gaps{_reasons(b.gaps)} + {b.shed} shed + "
        f"{b.in_flight} in flight: {_verdict(holds=bytes_hold(b))}",
        f"exchanges: {e.begun} begun == {e.complete} complete + "
        f"{sum(e.partial.values())} partial{_reasons(e.partial)} + {e.filtered} filtered + "
        f"{e.open} open: {_verdict(holds=exchanges_hold(e))}",
    ]
    for service in services:
        if service.service == "capture" and service.bytes:
            lines.append(_of_capture(service.node, service.bytes))
    for interval in b.unknown:
        seconds = (interval.to_ns - interval.from_ns) / 1e9
        lines.append(f"bytes unknown: {interval.node} was not captured for {seconds:.1f} s")
    return lines


def shard_lines(services: Iterable[ServiceLedger]) -> list[str]:
    """A table: who owns each shard, where it is, and what a successor would begin with."""
    rows = [_SHARDS]
    for service in sorted(services, key=lambda service: (service.service, service.replica)):
        rows += [
            (service.service, str(s.shard), service.replica, str(s.position), str(s.lag),
             f"{s.snapshot_age_ms / 1000:.1f} s", str(s.snapshot_bytes))
            for s in service.owned
        ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _of_capture(node: str, b: BytesLedger) -> str:
    return (
        f"capture on {node}: {b.seen} seen == {b.parsed} on the bus + {sum(b.gaps.values())} gaps"
        f"{_reasons(b.gaps)} + {b.shed} shed + {b.in_flight} under way: "
        f"{_verdict(holds=bytes_hold(b))}"
    )


def _reasons(counts: dict[str, int]) -> str:
    shown = ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items()) if n)
    return f" ({shown})" if shown else ""


def _verdict(*, holds: bool) -> str:
    return "holds" if holds else "DOES NOT HOLD"


def summary(witnesses: int, services: Iterable[ServiceLedger]) -> str:
    """One line at the end of a run; what was lost is always said, and why there may be nothing."""
    b = total_bytes(services)
    lost = sum(b.gaps.values()) + b.shed
    parts = [
        f"{witnesses} witness{'' if witnesses == 1 else 'es'}",
        f"{b.seen} bytes seen",
        f"{b.parsed} parsed",
        f"{lost} lost{_reasons({**b.gaps, 'shed': b.shed})}",
    ]
    if not b.seen:
        parts.append("no data went through a TLS library that is probed")
    if b.opaque:
        parts.append(f"{b.opaque} not HTTP")
    if b.in_flight:
        parts.append(f"{b.in_flight} still in flight")
    if b.unknown:
        parts.append(f"bytes unknown in {len(b.unknown)} interval(s) without capture")
    return ", ".join(parts)
