"""The shards of a process: what goes to the bus and the sinks, and what the ledger says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from services import records
from services.bus import Incoming, Outgoing
from services.collect.collector import Collector
from services.collect.state import Limits
from services.messages import ExchangeLedger, FrameBatch, Position, Witness
from services.stage import Work
from tests.unit.collect.transcript import batch, closed, opened, request, response, tick


class Taken:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.witnesses: list[Witness] = []

    def offer(self, witness: Witness) -> None:
        self.witnesses.append(witness)

    def counters(self) -> dict[str, int]:
        return {"taken": len(self.witnesses)}

    async def run(self, stopping: object) -> None: ...


def own(collector: Collector, shard: int) -> Work:
    work = collector.owned[shard] = collector.begin(shard)
    return work


def begin(collector: Collector, shard: int) -> Callable[[Incoming], list[Outgoing]]:
    return own(collector, shard).receive


def incoming(frames: FrameBatch) -> Incoming:
    return Incoming("plainwire.frames.0", records.encode_frames(frames), "", 1, {})


def test_a_witness_goes_to_its_subject_and_to_the_sinks() -> None:
    sink = Taken()
    fold = begin(Collector(Limits(), 10_000, [sink]), 0)
    (out,) = fold(incoming(batch(1, opened(), *request(), *response())))
    (witness,) = sink.witnesses
    assert out.subject == "plainwire.store.witnesses.shop.cart"
    assert out.message_id == f"{witness.id}/1"
    assert witness.id.encode() in out.payload


def test_a_position_is_told_once_all_witnesses_up_to_it_are_stored() -> None:
    collector = Collector(Limits(), 10_000, [])
    work = own(collector, 3)
    work.receive(incoming(batch(1, opened(), *request(), *response(), tick(counter=7))))
    assert collector.ledger().positions == ()
    work.stored(1)
    assert collector.ledger().positions == (Position(node="n1", shard=3, epoch=1, counter=7),)
    work.receive(incoming(batch(2, *request(2), *response(2), tick(counter=8))))
    assert collector.ledger().positions[0].counter == 7


def test_the_ledger_adds_up_over_shards() -> None:
    sink = Taken()
    collector = Collector(Limits(), 10_000, [sink])
    for shard in (0, 1):
        fold = begin(collector, shard)
        fold(incoming(batch(1, opened(), *request(), *response(), *request(2), closed())))
        fold(incoming(batch(2, opened(2), *request(connection=2))))
    ledger = collector.ledger()
    assert ledger.exchanges == ExchangeLedger(
        begun=6, complete=2, partial={"no_response": 2}, filtered=0, open=2
    )
    assert (ledger.service, ledger.shards) == ("collect", (0, 1))
    assert ledger.counters["taken"] == 4
    assert ledger.counters["connections_known"] == 2


def test_what_is_no_batch_is_counted_and_survived() -> None:
    collector = Collector(Limits(), 10_000, [])
    fold = begin(collector, 0)
    for payload in (b"", b"nonsense", b"PW\x02\x01\xc1", b"PW\x01\x01"):
        assert fold(Incoming("plainwire.frames.0", payload, "", 1, {})) == []
    assert collector.ledger().counters["batches_malformed"] == 4


def test_frames_of_a_bus_that_was_made_anew_end_what_was_open() -> None:
    collector = Collector(Limits(), 10_000, [])
    fold = begin(collector, 0)
    fold(incoming(batch(1, opened(), *request(), tick(counter=1))))
    message = incoming(batch(2, *response(), *request(2), *response(2), tick(counter=2)))
    partial, complete = fold(dataclasses.replace(message, interrupted="bus_restart"))
    assert b'"partial_reasons":["bus_restart"]' in partial.payload
    assert b'"state":"complete"' in complete.payload
    ledger = collector.ledger()
    assert ledger.exchanges is not None
    assert ledger.exchanges.partial == {"bus_restart": 1}
    assert ledger.counters["stream_bus_restart"] == 1


def test_a_message_that_is_passed_over_is_counted_and_its_frames_are_missing() -> None:
    collector = Collector(Limits(), 10_000, [])
    work = own(collector, 0)
    work.receive(incoming(batch(1, opened(), *request(), tick(counter=7))))
    assert work.skip(incoming(batch(2, *response()))) == []
    work.receive(incoming(batch(3, tick(counter=9))))
    work.stored(3)
    told = collector.ledger()
    assert [position.counter for position in told.positions] == [9]
    assert told.counters["messages_skipped"] == 1
    assert "batches_missing" not in told.counters
    assert told.exchanges == ExchangeLedger(begun=1, open=1)


def test_what_is_remembered_of_the_past_is_limited_and_the_rest_is_counted() -> None:
    collector = Collector(Limits(remembered=2, connections=1), 10_000, [])
    work = own(collector, 0)
    for connection in range(1, 6):
        work.receive(incoming(batch(connection, opened(connection=connection))))
    assert collector.ledger().counters["evicted_connections_forgotten"] == 2
    work.receive(
        incoming(batch(6, *(f for s in range(1, 9, 2) for f in response(stream=s, connection=5))))
    )
    work.receive(incoming(batch(7, closed(connection=5))))
    assert collector.ledger().counters["unrequested_streams_forgotten"] == 2
