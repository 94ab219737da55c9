"""The bus's bytes in, the bus's bytes out; what a batch means is test_shard.py's."""

from __future__ import annotations

import msgspec

from services import records
from services.bus import Incoming, Outgoing
from services.messages import RequestHead
from services.parse.limits import Limits
from services.parse.parser import Parser
from tests.support.wire import EGRESS, NODE, Kernel

GET = b"GET / HTTP/1.1\r\n\r\n"


def incoming(payload: bytes) -> Incoming:
    return Incoming(
        subject=f"plainwire.raw.0.{NODE}", payload=payload, message_id="", sequence=1, headers={}
    )


def raw(kernel: Kernel, data: bytes, **changes: object) -> bytes:
    record = kernel.record(EGRESS, data)
    head = kernel.head(opened=(kernel.opened(),), **changes)
    return records.encode_raw(head, [records.encode_record(record, 0)])


def test_a_raw_batch_becomes_a_message_with_a_repeatable_id():
    fold = Parser(Limits()).fold_of(0)
    (out,) = fold(incoming(raw(Kernel(), GET)))
    assert isinstance(out, Outgoing)
    assert (out.subject, out.message_id) == ("plainwire.frames.0", f"{NODE}/1/0/1/0")
    frames = records.decode_frames(out.payload).frames
    assert isinstance(frames[1], RequestHead)


def test_what_is_no_batch_of_this_shard_is_counted_and_survived():
    parser = Parser(Limits())
    fold = parser.fold_of(0)
    assert fold(incoming(b"garbage")) == []
    assert fold(incoming(raw(Kernel(), GET, shard=5))) == []
    assert parser.ledger().counters["batches_malformed"] == 2
    assert len(fold(incoming(raw(Kernel(), GET)))) == 1


def test_the_ledger_sums_the_shards():
    parser = Parser(Limits())
    kernels = [Kernel(), Kernel()]
    for shard, kernel in enumerate(kernels):
        kernel.lose(EGRESS, 5)
        parser.fold_of(shard)(incoming(raw(kernel, GET, shard=shard)))
    sums = parser.ledger()
    assert sums.bytes is not None
    assert (sums.bytes.seen, sums.bytes.gaps, sums.bytes.in_flight) == (46, {"ring_full": 10}, 0)
    assert sums.bytes.parsed + sums.bytes.opaque == 36
    assert [(p.shard, p.counter) for p in sums.positions] == [(0, 1), (1, 1)]
    assert sums.counters["connections_known"] == 2
    assert msgspec.json.encode(sums)


def test_an_absence_of_capture_is_told_once_for_all_shards():
    parser = Parser(Limits())
    folds = [parser.fold_of(shard) for shard in range(2)]
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
