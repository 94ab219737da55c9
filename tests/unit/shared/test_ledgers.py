"""How ledgers add up. Not: how they are said (cli), nor how they come about."""

from __future__ import annotations

from services import ledgers
from services.messages import BytesLedger, ExchangeLedger, UnknownInterval


def test_bytes_add_up_by_reason() -> None:
    total = ledgers.total_bytes(
        [
            BytesLedger(seen=10, parsed=6, opaque=1, gaps={"ring_full": 3}),
            BytesLedger(seen=5, parsed=1, gaps={"ring_full": 1, "expired": 1}, shed=1, in_flight=1),
        ]
    )
    assert total == BytesLedger(
        seen=15, parsed=7, opaque=1, gaps={"ring_full": 4, "expired": 1}, shed=1, in_flight=1
    )
    assert ledgers.bytes_hold(total)
    assert not ledgers.bytes_hold(BytesLedger(seen=2, parsed=1))


def test_exchanges_add_up_by_reason() -> None:
    total = ledgers.total_exchanges(
        [
            ExchangeLedger(begun=4, complete=2, partial={"reset": 1}, open=1),
            ExchangeLedger(begun=2, partial={"reset": 1}, filtered=1),
        ]
    )
    assert total == ExchangeLedger(begun=6, complete=2, partial={"reset": 2}, filtered=1, open=1)
    assert ledgers.exchanges_hold(total)
    assert not ledgers.exchanges_hold(ExchangeLedger(begun=1))


def test_one_absence_of_capture_that_many_tell_of_is_told_once() -> None:
    told = [
        UnknownInterval(node=node, from_ns=since, to_ns=9)
        for node, since in (("n", 3), ("n", 5), ("other", 4))
    ]
    parts = [BytesLedger(unknown=(interval,)) for interval in told]
    assert set(ledgers.total_bytes(parts).unknown) == set(told[1:])
