"""Sums over replicas, the two equations, the line at a run's end."""

from __future__ import annotations

from services.cli import ledger
from services.messages import (
    BytesLedger,
    ExchangeLedger,
    ServiceLedger,
    ShardStatus,
    UnknownInterval,
)

PARSE = [
    ServiceLedger(
        service="parse", bytes=BytesLedger(seen=10, parsed=6, opaque=1, gaps={"ring_full": 3})
    ),
    ServiceLedger(
        service="parse",
        bytes=BytesLedger(
            seen=5, parsed=1, gaps={"ring_full": 1, "expired": 1}, shed=1, in_flight=1
        ),
    ),
]
COLLECT = ServiceLedger(
    service="collect",
    exchanges=ExchangeLedger(begun=4, complete=2, partial={"reset": 1}, open=1),
)


def test_replicas_add_up_and_the_equations_hold() -> None:
    lines = ledger.ledger_lines([*PARSE, COLLECT])
    assert lines == [
        "bytes: 15 seen == 7 parsed + 1 opaque + 5 gaps (expired 1, ring_full 4) + 1 shed + "
        "1 in flight: holds",
        "exchanges: 4 begun == 2 complete + 1 partial (reset 1) + 0 filtered + 1 open: holds",
    ]


def test_an_equation_that_does_not_hold_says_so() -> None:
    (line, _) = ledger.ledger_lines(
        [ServiceLedger(service="parse", bytes=BytesLedger(seen=2, parsed=1))]
    )
    assert line.endswith("DOES NOT HOLD")


def test_capture_s_bytes_are_not_added_to_parse_s() -> None:
    own = BytesLedger(seen=20, parsed=9, gaps={"spool_overflow": 4}, shed=5, in_flight=2)
    capture = ServiceLedger(service="capture", node="n", bytes=own)
    assert ledger.total_bytes([capture, *PARSE]).seen == 15
    assert ledger.ledger_lines([capture, *PARSE])[-1] == (
        "capture on n: 20 seen == 9 on the bus + 4 gaps (spool_overflow 4) + 5 shed + "
        "2 under way: holds"
    )


def test_an_interval_without_capture_is_named() -> None:
    unknown = (UnknownInterval(node="n", from_ns=0, to_ns=2_500_000_000),)
    lines = ledger.ledger_lines(
        [ServiceLedger(service="parse", bytes=BytesLedger(unknown=unknown))]
    )
    assert lines[-1] == "bytes unknown: n was not captured for 2.5 s"


def test_the_summary_says_what_was_lost_and_why() -> None:
    text = ledger.summary(3, [*PARSE, COLLECT])
    assert text == (
        "3 witnesses, 15 bytes seen, 7 parsed, 6 lost (expired 1, ring_full 4, shed 1), "
        "1 not HTTP, 1 still in flight"
    )


def test_a_summary_without_losses_is_short() -> None:
    parse = ServiceLedger(service="parse", bytes=BytesLedger(seen=9, parsed=9))
    assert ledger.summary(1, [parse]) == "1 witness, 9 bytes seen, 9 parsed, 0 lost"


def test_a_summary_of_nothing_says_what_was_looked_for() -> None:
    assert ledger.summary(0, [ServiceLedger(service="parse", bytes=BytesLedger())]) == (
        "0 witnesses, 0 bytes seen, 0 parsed, 0 lost, "
        "no data went through a TLS library that is probed"
    )


def test_shards_are_a_table_of_owner_position_lag_and_snapshot() -> None:
    owned = (
        ShardStatus(shard=0, position=12, lag=3, snapshot_age_ms=1250, snapshot_bytes=4096),
        ShardStatus(shard=2, position=9, lag=0, snapshot_age_ms=40, snapshot_bytes=0),
    )
    parse = ServiceLedger(service="parse", replica="n-1f", owned=owned)
    assert ledger.shard_lines([parse, COLLECT]) == [
        "service  shard  owner  position  lag  snapshot age  snapshot bytes",
        "parse    0      n-1f   12        3    1.2 s         4096",
        "parse    2      n-1f   9         0    0.0 s         0",
    ]
