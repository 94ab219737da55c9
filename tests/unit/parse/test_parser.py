"""The bus's bytes in, the bus's bytes out; what a batch means is test_shard.py's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import pytest

from services import records
from services.bus import Incoming, Outgoing
from services.messages import RequestHead
from services.parse.limits import Limits
from services.parse.parser import Parser
from tests.support.wire import CONNECTION, EGRESS, NODE, Kernel

GET = b"GET / HTTP/1.1\r\n\r\n"


def begin(parser: Parser, shard: int) -> Callable[[Incoming], list[Outgoing]]:
    work = parser.owned[shard] = parser.begin(shard)
    return work.receive


def incoming(payload: bytes, shard: int = 0, node: str = NODE) -> Incoming:
    subject = f"plainwire.raw.{shard}.{node}"
    return Incoming(subject=subject, payload=payload, message_id="", sequence=1, headers={})


def raw(kernel: Kernel, data: bytes, **changes: object) -> bytes:
    record = kernel.record(EGRESS, data)
    head = kernel.head(opened=(kernel.opened(),), **changes)
    return records.encode_raw(head, [records.encode_record(record, 0)])


def test_a_raw_batch_becomes_a_message_with_a_repeatable_id():
    fold = begin(Parser(Limits()), 0)
    (out,) = fold(incoming(raw(Kernel(), GET)))
    assert isinstance(out, Outgoing)
    assert (out.subject, out.message_id) == ("plainwire.frames.0", f"{NODE}/1/0/1/0")
    frames = records.decode_frames(out.payload).frames
    assert isinstance(frames[1], RequestHead)


def test_what_is_no_batch_of_this_shard_is_counted_and_survived():
    parser = Parser(Limits())
    fold = begin(parser, 0)
    assert fold(incoming(b"garbage")) == []
    assert fold(incoming(raw(Kernel(), GET, shard=5))) == []
    assert parser.ledger().counters["batches_malformed"] == 2
    assert len(fold(incoming(raw(Kernel(), GET)))) == 1


def test_a_batch_of_another_node_than_its_subject_s_is_counted_and_survived():
    parser = Parser(Limits())
    fold = begin(parser, 0)
    assert fold(incoming(raw(Kernel(), GET), node="other")) == []
    assert parser.ledger().counters["batches_malformed"] == 1


def test_the_ledger_sums_the_shards():
    parser = Parser(Limits())
    kernels = [Kernel(), Kernel()]
    for shard, kernel in enumerate(kernels):
        kernel.lose(EGRESS, 5)
        begin(parser, shard)(incoming(raw(kernel, GET, shard=shard), shard))
    sums = parser.ledger()
    assert sums.bytes is not None
    assert (sums.bytes.seen, sums.bytes.gaps, sums.bytes.in_flight) == (46, {"ring_full": 10}, 0)
    assert sums.bytes.parsed + sums.bytes.opaque == 36
    assert [(p.shard, p.counter) for p in sums.positions] == [(0, 1), (1, 1)]
    assert sums.counters["connections_known"] == 2
    assert msgspec.json.encode(sums)


def test_an_absence_of_capture_is_told_once_for_all_shards():
    parser = Parser(Limits())
    folds = [begin(parser, shard) for shard in range(2)]
    for epoch, now in ((1, 5_000), (2, 9_000)):
        for shard, fold in enumerate(folds):
            kernel = Kernel()
            kernel.epoch, kernel.now = epoch, now - shard
            fold(
                incoming(raw(kernel, b"", shard=shard, boot_ns=9_000 if epoch > 1 else now - shard))
            )
    sums = parser.ledger().bytes
    assert sums is not None
    (interval,) = sums.unknown
    assert (interval.node, interval.to_ns - interval.from_ns) == (NODE, 4_000)


@pytest.mark.parametrize("reason", ["bus_restart", "expired", "purged"])
def test_batches_that_are_missing_are_lost_to_what_became_of_the_stream(reason: str):
    parser, kernel = Parser(Limits()), Kernel()
    fold = begin(parser, 0)
    fold(incoming(raw(kernel, GET)))
    raw(kernel, GET)  # is never read
    message = dataclasses.replace(incoming(raw(kernel, GET)), interrupted=reason)
    fold(message)
    kernel.now += 3 * 10**9
    fold(incoming(raw(kernel, b"")))
    ledger = parser.ledger()
    assert ledger.bytes is not None
    assert ledger.bytes.gaps == {reason: len(GET)}
    assert ledger.counters[f"batches_lost_{reason}"] == 1


def test_a_node_that_is_silent_is_told_to_the_shards_own_input_and_ended_when_that_comes_back():
    parser, kernel = Parser(Limits()), Kernel()
    work = parser.begin(0)
    work.receive(incoming(raw(kernel, GET[:9])))
    assert work.decide(0.0) == []
    assert work.decide(299.0) == []
    (told,) = work.decide(301.0)
    assert (told.subject, told.message_id) == (f"plainwire.raw.0.{NODE}", f"silent/{NODE}/1/0/1")
    (ended,) = work.receive(incoming(told.payload))
    close = records.decode_frames(ended.payload).frames[-1]
    assert (close.connection, close.reason) == (CONNECTION, "node_silent")
    assert work.receive(incoming(told.payload)) == []
    assert work.decide(1000.0) == []
    assert work.state.counters["silences_void"] == 1


def test_a_node_that_has_spoken_meanwhile_is_not_silent():
    parser, kernel = Parser(Limits()), Kernel()
    work = parser.begin(0)
    work.receive(incoming(raw(kernel, GET)))
    work.decide(0.0)
    (told,) = work.decide(301.0)
    work.receive(incoming(raw(kernel, GET)))
    assert work.receive(incoming(told.payload)) == []
    assert len(work.state.table.connections) == 1
