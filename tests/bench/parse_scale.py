"""Exchanges a second through parse alone, at 10, 1,000 and 10,000 connections, and megabytes.

The traffic is made here, small JSON calls whose every head is unlike any other (path, request id,
trace, date): caches of whole heads don't help, as they would with a load generator's. What is timed
is a batch's way from the bus's bytes to the bus's bytes.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator

import hpack

from services import records
from services.messages import Direction, Losses, Opened, RawHead, RequestHead, ShardTotals, Source
from services.parse import shard
from services.parse.limits import Limits
from services.parse.main import COLLECT_AFTER
from services.parse.shard import ShardState
from services.records import Record

SCALES = (10, 1_000, 10_000)
EXCHANGES = 20_000
_RECORDS_OF_BATCH = 400
_SOURCE = Source(node="n", namespace="host", workload="bench", pid=1)
_EGRESS, _INGRESS = Direction.EGRESS, Direction.INGRESS
_BODY = b'{"name":"apple","price":%07d,"tags":["fresh","fruit"],"shop":{"id":7}}'
Piece = tuple[Direction, bytes]
Traffic = Callable[[int, int], Iterator[tuple[int, Piece]]]  # (connection, piece)


def http1(connections: int, exchanges: int) -> Iterator[tuple[int, Piece]]:
    for n in range(exchanges):
        body = _BODY % n
        yield n % connections, (_EGRESS, (
            f"POST /v1/items/{n:07}?cart={n * 7919:x} HTTP/1.1\r\nHost: api.example.com\r\n"
            "User-Agent: python-requests/2.31.0\r\nAccept: */*\r\n"
            "Accept-Encoding: gzip, deflate\r\nContent-Type: application/json\r\n"
            f"X-Request-Id: {n * 104729:032x}\r\n"
            f"Traceparent: 00-{n * 1299709:032x}-{n:016x}-01\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body)  # fmt: skip
        yield n % connections, (_INGRESS, (
            "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n"
            f"Date: Mon, 12 Jan 2026 10:{n // 60 % 60:02}:{n % 60:02} GMT\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"Connection: keep-alive\r\nX-Request-Id: {n * 104729:032x}\r\n\r\n"
        ).encode() + body)  # fmt: skip


def http2(connections: int, exchanges: int) -> Iterator[tuple[int, Piece]]:
    peers: dict[int, tuple[hpack.Encoder, hpack.Encoder]] = {}
    for n in range(exchanges):
        number = n % connections
        if number not in peers:
            peers[number] = hpack.Encoder(), hpack.Encoder()
            yield number, (_EGRESS, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b""))
            yield number, (_INGRESS, _frame(4, 0, 0, b"") + _frame(4, 1, 0, b""))
        client, server = peers[number]
        stream, body = n // connections * 2 + 1, _BODY % n
        request = client.encode([
            (":method", "POST"), (":scheme", "https"), (":authority", "api.example.com"),
            (":path", f"/v1/items/{n:07}?cart={n * 7919:x}"), ("user-agent", "grpc-go/1.60.1"),
            ("content-type", "application/json"), ("x-request-id", f"{n * 104729:032x}"),
            ("traceparent", f"00-{n * 1299709:032x}-{n:016x}-01"),
            ("content-length", str(len(body))),
        ])  # fmt: skip
        response = server.encode([
            (":status", "200"), ("server", "nginx/1.22.1"), ("content-type", "application/json"),
            ("date", f"Mon, 12 Jan 2026 10:{n // 60 % 60:02}:{n % 60:02} GMT"),
            ("content-length", str(len(body))), ("x-request-id", f"{n * 104729:032x}"),
        ])  # fmt: skip
        yield number, (_EGRESS, _frame(1, 4, stream, request) + _frame(0, 1, stream, body))
        yield number, (_INGRESS, _frame(1, 4, stream, response) + _frame(0, 1, stream, body))


def download(connections: int, exchanges: int) -> Iterator[tuple[int, Piece]]:
    """Bodies of 16 MiB in records of 16 KiB: nearly all of it is over the cap."""
    piece = bytes(16 * 1024)
    for n in range(exchanges):
        number = n % connections
        yield number, (_EGRESS, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        yield number, (_INGRESS, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (16 << 20))
        for _ in range(1024):
            yield number, (_INGRESS, piece)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def batches(traffic: Traffic, connections: int, exchanges: int) -> list[bytes]:
    """Raw batches as capture would publish them, each connection named when it begins."""
    offsets: dict[tuple[int, Direction], int] = {}
    found: list[bytes] = []
    opened: list[Opened] = []
    held: list[bytes] = []
    for now, (number, (direction, data)) in enumerate(traffic(connections, exchanges), 1):
        offset = offsets.get((number, direction))
        if offset is None and (number, Direction(1 - direction)) not in offsets:
            opened.append(Opened(connection=number + 1, source=_SOURCE, first_boot_ns=now))
        offsets[number, direction] = (offset or 0) + len(data)
        held.append(_record(number + 1, direction, offset or 0, now, data))
        if len(held) >= _RECORDS_OF_BATCH:
            found.append(_batch(len(found) + 1, now, opened, held))
            opened, held = [], []
    return [*found, _batch(len(found) + 1, now, opened, held)]


def _record(connection: int, direction: Direction, offset: int, now: int, data: bytes) -> bytes:
    lost = Losses()
    record = Record(connection, direction, 0, offset, now, lost, memoryview(data))
    return records.encode_record(record, 0)


def _batch(counter: int, now: int, opened: list[Opened], held: list[bytes]) -> bytes:
    head = RawHead(
        node="n", epoch=1, shard=0, counter=counter, lowest_held=counter, boot_ns=now,
        anchor_ns=10**18, totals=ShardTotals(), opened=tuple(opened),
    )  # fmt: skip
    return records.encode_raw(head, held)


def begun(raw: list[bytes]) -> int:
    """How many of the batches open connections: they come first, and are not timed."""
    opens = [bool(records.decode_raw(payload)[0].opened) for payload in raw]
    return len(opens) - opens[::-1].index(True)


def seconds(raw: list[bytes], first: int = 0) -> tuple[float, int]:
    """Of one core for all of it from `first` on, and how many exchanges began in that."""
    state = ShardState(shard=0, limits=Limits())
    _fold(state, raw[:first])
    gc.collect()
    begin = time.process_time()
    encoded = _fold(state, raw[first:])
    took = time.process_time() - begin
    frames = (frame for payload in encoded for frame in records.decode_frames(payload).frames)
    return took, sum(isinstance(frame, RequestHead) for frame in frames)


def _fold(state: ShardState, raw: list[bytes]) -> list[bytes]:
    return [
        records.encode_frames(batch)
        for payload in raw
        for batch in shard.receive(state, *records.decode_raw(payload))
    ]


def rates(traffic: Traffic, rounds: int) -> dict[int, list[float]]:
    """Exchanges a second of CPU at each scale; rounds take turns, so that whatever else the machine
    does meets all of them."""
    raws = {scale: batches(traffic, scale, scale + EXCHANGES) for scale in SCALES}
    firsts = {scale: begun(raw) for scale, raw in raws.items()}
    found: dict[int, list[float]] = {scale: [] for scale in SCALES}
    for _ in range(rounds):
        for scale, raw in raws.items():
            took, exchanges = seconds(raw, firsts[scale])
            found[scale].append(exchanges / took)
    return found


def flatness(found: dict[int, list[float]]) -> dict[str, float]:
    """Of each scale to the first, round by round."""
    first, *others = SCALES
    return {
        str(scale): statistics.median(
            mine / base for mine, base in zip(found[scale], found[first], strict=True)
        )
        for scale in others
    }


def measure(rounds: int) -> dict[str, object]:
    found: dict[str, object] = {}
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT_AFTER)
    for traffic in (http1, http2):
        measured = rates(traffic, rounds)
        name = f"parse_{traffic.__name__}"
        found[f"{name}_per_second_at"] = {
            str(scale): statistics.median(values) for scale, values in measured.items()
        }
        found[f"{name}_flatness"] = flatness(measured)
    raw = batches(download, 4, 12)
    took = statistics.median(seconds(raw)[0] for _ in range(rounds))
    found["parse_megabytes_per_second"] = 12 * 16.777 / took
    gc.set_threshold(*before)
    found["parse_microseconds_a_record_over_the_cap"] = took / (12 * 1024) * 1e6
    return found
