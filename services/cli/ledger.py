"""The sums of all replicas, whether the two equations hold, and how both are said. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from services.messages import BytesLedger, ExchangeLedger, ServiceLedger


def total_bytes(ledgers: Iterable[ServiceLedger]) -> BytesLedger:
    parts = [ledger.bytes for ledger in ledgers if ledger.bytes]
    gaps = Counter[str]()
    for part in parts:
        gaps.update(part.gaps)
    return BytesLedger(
        seen=sum(p.seen for p in parts),
        parsed=sum(p.parsed for p in parts),
        opaque=sum(p.opaque for p in parts),
        gaps=dict(gaps),
        shed=sum(p.shed for p in parts),
        in_flight=sum(p.in_flight for p in parts),
        unknown=tuple(interval for p in parts for interval in p.unknown),
    )


def total_exchanges(ledgers: Iterable[ServiceLedger]) -> ExchangeLedger:
    parts = [ledger.exchanges for ledger in ledgers if ledger.exchanges]
    partial = Counter[str]()
    for part in parts:
        partial.update(part.partial)
    return ExchangeLedger(
        begun=sum(p.begun for p in parts),
        complete=sum(p.complete for p in parts),
        partial=dict(partial),
        filtered=sum(p.filtered for p in parts),
        open=sum(p.open for p in parts),
    )


def bytes_hold(b: BytesLedger) -> bool:
    return b.seen == b.parsed + b.opaque + sum(b.gaps.values()) + b.shed + b.in_flight


def exchanges_hold(e: ExchangeLedger) -> bool:
    return e.begun == e.complete + sum(e.partial.values()) + e.filtered + e.open


def ledger_lines(ledgers: Iterable[ServiceLedger]) -> list[str]:
    """The equations with their figures, each followed by whether it holds."""
    ledgers = list(ledgers)
    b, e = total_bytes(ledgers), total_exchanges(ledgers)
    lines = [
        f"bytes: {b.seen} seen == {b.parsed} parsed + {b.opaque} opaque + "
        f"{sum(b.gaps.values())} gaps{_reasons(b.gaps)} + {b.shed} shed + "
        f"{b.in_flight} in flight: {_verdict(holds=bytes_hold(b))}",
        f"exchanges: {e.begun} begun == {e.complete} complete + "
        f"{sum(e.partial.values())} partial{_reasons(e.partial)} + {e.filtered} filtered + "
        f"{e.open} open: {_verdict(holds=exchanges_hold(e))}",
    ]
    for interval in b.unknown:
        seconds = (interval.to_ns - interval.from_ns) / 1e9
        lines.append(f"bytes unknown: {interval.node} was not captured for {seconds:.1f} s")
    return lines


def _reasons(counts: dict[str, int]) -> str:
    shown = ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items()) if n)
    return f" ({shown})" if shown else ""


def _verdict(*, holds: bool) -> str:
    return "holds" if holds else "DOES NOT HOLD"


def summary(witnesses: int, ledgers: Iterable[ServiceLedger]) -> str:
    """One line at the end of a run; what was lost is always said."""
    b = total_bytes(ledgers)
    lost = sum(b.gaps.values()) + b.shed
    parts = [
        f"{witnesses} witness{'' if witnesses == 1 else 'es'}",
        f"{b.seen} bytes seen",
        f"{b.parsed} parsed",
        f"{lost} lost{_reasons({**b.gaps, 'shed': b.shed})}",
    ]
    if b.opaque:
        parts.append(f"{b.opaque} not HTTP")
    if b.in_flight:
        parts.append(f"{b.in_flight} still in flight")
    if b.unknown:
        parts.append(f"bytes unknown in {len(b.unknown)} interval(s) without capture")
    return ", ".join(parts)
