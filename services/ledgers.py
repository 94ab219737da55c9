"""How ledgers of shards and replicas add up, and whether the two equations hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from services.messages import BytesLedger, ExchangeLedger, UnknownInterval


def total_bytes(ledgers: Iterable[BytesLedger]) -> BytesLedger:
    parts = list(ledgers)
    return BytesLedger(
        seen=sum(part.seen for part in parts),
        parsed=sum(part.parsed for part in parts),
        opaque=sum(part.opaque for part in parts),
        gaps=_total(part.gaps for part in parts),
        shed=sum(part.shed for part in parts),
        in_flight=sum(part.in_flight for part in parts),
        unknown=_merged(interval for part in parts for interval in part.unknown),
    )


def total_exchanges(ledgers: Iterable[ExchangeLedger]) -> ExchangeLedger:
    parts = list(ledgers)
    return ExchangeLedger(
        begun=sum(part.begun for part in parts),
        complete=sum(part.complete for part in parts),
        partial=_total(part.partial for part in parts),
        filtered=sum(part.filtered for part in parts),
        open=sum(part.open for part in parts),
    )


def bytes_hold(b: BytesLedger) -> bool:
    return b.seen == b.parsed + b.opaque + sum(b.gaps.values()) + b.shed + b.in_flight


def exchanges_hold(e: ExchangeLedger) -> bool:
    return e.begun == e.complete + sum(e.partial.values()) + e.filtered + e.open


def _total(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for part in counts:
        total.update(part)
    return dict(total)


def _merged(intervals: Iterable[UnknownInterval]) -> tuple[UnknownInterval, ...]:
    """Every shard tells of the same absence of capture. It ends for all of them with one reading,
    and begins with the last word that any of them had."""
    found: dict[tuple[str, int], UnknownInterval] = {}
    for interval in intervals:
        key = interval.node, interval.to_ns
        if key not in found or found[key].from_ns < interval.from_ns:
            found[key] = interval
    return tuple(found.values())
