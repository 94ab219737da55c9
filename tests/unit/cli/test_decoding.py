"""Messages as text and as objects, from their bytes alone; payload only where it is asked for."""

from __future__ import annotations

import json

import msgspec
import pytest

from services.cli.decoding import Undecodable, decode
from services.cli.objects import as_object
from services.messages import (
    BodyFrame,
    Coverage,
    Direction,
    FrameBatch,
    GrpcFrame,
    Losses,
    Opened,
    OpenFrame,
    RawHead,
    RequestHead,
    ShardTotals,
    Source,
    TickFrame,
    WebSocketFrame,
)
from services.records import Record, encode_frames, encode_raw, encode_record

SOURCE = Source(node="n", namespace="host", workload="curl", pid=7, process="curl")
SECRET = b"SECRET\x1b[2J"
RECORD = Record(0xAB, Direction.EGRESS, 0, 4, 9, Losses(ring_full=3), memoryview(SECRET))
HEAD = RawHead(
    node="n",
    epoch=1,
    shard=0,
    counter=2,
    lowest_held=1,
    boot_ns=5,
    anchor_ns=6,
    totals=ShardTotals(seen_bytes=12),
    opened=(Opened(connection=0xAB, source=SOURCE, first_boot_ns=1),),
)
RAW = encode_raw(HEAD, [encode_record(RECORD, 0)])
FRAMES = encode_frames(
    FrameBatch(
        shard=0,
        counter=1,
        origin="n/1/0/2",
        piece=0,
        frames=(
            OpenFrame(connection=0xAB, time_ns=1, source=SOURCE),
            RequestHead(
                connection=0xAB,
                time_ns=1,
                stream=1,
                protocol="http/1.1",
                direction=Direction.EGRESS,
                method="GET",
                scheme="https",
                authority="h",
                path="/p?q=SECRET",
                headers=(("x-key", "SECRET"),),
            ),
            BodyFrame(
                connection=0xAB, time_ns=1, stream=1, side="request", offset=0, size=10, data=SECRET
            ),
            TickFrame(connection=0, time_ns=1, node="n", epoch=1, counter=2),
        ),
    )
)


def test_a_raw_batch_shows_sizes_and_no_payload() -> None:
    assert decode(RAW, payload=False) == [
        "raw n/1/0/2 1 record, 10 bytes, 12 bytes seen so far",
        "  open 00000000000000ab curl[7] ",
        "  00000000000000ab egress  4+10 lost 3",
    ]


def test_payload_is_shown_on_demand_and_escaped() -> None:
    assert decode(RAW, payload=True)[-1].endswith("SECRET\\x1b[2J")
    assert all(part.isprintable() for part in "\n".join(decode(FRAMES, payload=True)).split("\n"))
    assert "SECRET" in "".join(decode(FRAMES, payload=True))


@pytest.mark.parametrize(
    ("payload", "shown"), [("é€".encode(), "é€"), (b"\xc3\x96\xff\x00", "Ö\\xff\\x00")]
)
def test_payload_is_text_where_it_is_utf8(payload: bytes, shown: str) -> None:
    body = BodyFrame(
        connection=1, time_ns=1, stream=1, side="request", offset=0, size=9, data=payload
    )
    batch = FrameBatch(shard=0, counter=1, origin="n/1/0/2", piece=0, frames=(body,))
    assert decode(encode_frames(batch), payload=True)[1].endswith(f"request 0+9 {shown}")


def test_frames_show_their_structure_and_no_values() -> None:
    lines = decode(FRAMES, payload=False)
    assert lines[0] == "frames shard 0 #1 of n/1/0/2/0: 4"
    assert "request 1 http/1.1 GET https://h/p?q=***" in lines[2]
    assert lines[3].endswith("body 1 request 0+10")
    assert lines[4].endswith("tick node=n epoch=1 counter=2")
    assert "SECRET" not in "".join(lines)


MESSAGES = encode_frames(
    FrameBatch(
        shard=0,
        counter=1,
        origin="n/1/0/2",
        piece=0,
        frames=(
            GrpcFrame(
                connection=1, time_ns=1, stream=3, side="request", index=1, size=10, data=SECRET
            ),
            WebSocketFrame(
                connection=1, time_ns=1, stream=1, sender="client", kind="text", size=10,
                data=SECRET, truncated_by="cap",
            ),
        ),
    )
)  # fmt: skip


def test_messages_show_what_they_are_and_their_bytes_on_demand() -> None:
    lines = decode(MESSAGES, payload=False)
    assert lines[1].endswith("grpc stream=3 side=request index=1 size=10")
    assert lines[2].endswith("websocket stream=1 sender=client kind=text size=10 truncated_by=cap")
    assert "SECRET" not in "".join(lines)
    assert all(line.endswith("SECRET\\x1b[2J") for line in decode(MESSAGES, payload=True)[1:])
    assert "data" not in json.loads(as_object(MESSAGES, payload=False))["frames"][0]


def test_a_tick_is_called_one() -> None:
    assert "tick" in decode(encode_raw(HEAD, []), payload=False)[0]


def test_json_messages_are_recognised_by_their_fields() -> None:
    coverage = Coverage(node="n", time_ns=0, epoch=1, attached=(), processes=())
    assert "no process uses TLS" in decode(msgspec.json.encode(coverage), payload=False)[0]
    assert decode(b'{"a": "\\u001b"}', payload=False) == ['{"a":"\\u001b"}']


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\x00", b"PW\x01\x01", b"PW\x02\x01", RAW[:-3], FRAMES[:9], b"[1]", b'{"timing":1}'],
    ids=["empty", "bytes", "raw", "frames", "short raw", "short frames", "list", "not a witness"],
)
def test_nonsense_is_undecodable_in_one_line_that_quotes_nothing(data: bytes) -> None:
    with pytest.raises(Undecodable) as caught:
        decode(data, payload=False)
    assert str(caught.value).isprintable()


def test_objects_have_names_instead_of_positions() -> None:
    raw = json.loads(as_object(RAW, payload=False))
    assert raw["head"]["opened"][0]["source"]["process"] == "curl"
    assert raw["records"][0]["size"] == len(SECRET)
    frames = json.loads(as_object(FRAMES, payload=False))
    assert [frame["frame"] for frame in frames["frames"]] == ["open", "request", "body", "tick"]
    assert b"SECRET" not in as_object(RAW, payload=False)


def test_objects_hold_payload_on_demand() -> None:
    assert json.loads(as_object(RAW, payload=True))["records"][0]["base64"] == "U0VDUkVUG1sySg=="
    assert json.loads(as_object(FRAMES, payload=True))["frames"][2]["data"] == "U0VDUkVUG1sySg=="


def test_json_is_its_own_object() -> None:
    assert as_object(b'{"a":1}', payload=False) == b'{"a":1}'
    for nonsense in (b"nonsense", RAW[:-3]):
        with pytest.raises(Undecodable):
            as_object(nonsense, payload=False)
