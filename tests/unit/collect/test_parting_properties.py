"""What holds for parts, wherever frames and parts are cut: they join to the whole, no secret is
shown, replays repeat them, memory stays bounded."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli
import msgspec
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from services.collect import saving
from services.collect.state import ShardState
from services.groups import Written
from services.messages import AnyFrame, Body, Headers, Witness
from tests.unit.collect.transcript import (
    SECOND,
    body,
    end,
    fold,
    gap,
    grpc_message,
    opened,
    request,
    request_head,
    response_head,
    shard,
    tick,
    told,
    upgraded,
    websocket_message,
)

EVENTS = "text/event-stream"
SECRET = "hunter2"
CAP = 1024  # the least that can be set

cuts = st.lists(st.integers(0, 6000), max_size=12)


def pieces(data: bytes, at: list[int]) -> list[tuple[int, bytes]]:
    borders = sorted({0, len(data), *(position for position in at if position < len(data))})
    return [(a, data[a:b]) for a, b in pairwise(borders)]


def stream(data: bytes, frames: list[int], ticks: list[int], headers: Headers) -> list[AnyFrame]:
    """A body in frames, some behind a tick that ends a part: cut there as well."""
    out: list[AnyFrame] = [opened(), *request(), response_head(headers=headers)]
    seconds = 0
    for offset, piece in pieces(data, [*frames, *ticks]):
        if offset in ticks:
            seconds += 6
            out.append(tick(seconds * SECOND, counter=seconds))
        out.append(body(piece, offset=offset, at=seconds * SECOND))
    return [*out, end("response", len(data), at=seconds * SECOND)]


def typed(media: str, *more: tuple[str, str]) -> Headers:
    return (("content-type", media), *more)


def bodies(witnesses: list[Witness]) -> list[Body]:
    return [w.response.body for w in witnesses if w.response is not None]


def content(shown: list[Body]) -> bytes:
    return b"".join(
        b.text.encode() if b.text is not None else base64.b64decode(b.base64 or "") for b in shown
    )


def run(frames: list[AnyFrame], **limits: int) -> list[Witness]:
    state = shard(**({"body_bytes": CAP} | limits))
    found = told(state, *frames)
    assert (state.buffered, state.streams, state.answered) == (0, {}, {})
    assert state.ledger().begun == state.ledger().complete == 1
    return found


@given(st.binary(max_size=5000), cuts, cuts, st.sampled_from([EVENTS, "multipart/x-mixed-replace"]))
def test_parts_join_to_the_whole(
    data: bytes, frames: list[int], ticks: list[int], media: str
) -> None:
    found = run(stream(data, frames, ticks, typed(media)))
    shown = bodies(found)
    assert [w.part for w in found] == list(range(1, len(found) + 1))
    assert [w.final for w in found] == [False] * (len(found) - 1) + [True]
    assert len({w.id for w in found}) == 1
    assert content(shown) == data
    assert not any(b.truncated for b in shown)
    offset = 0
    for b in shown:
        assert (b.offset, b.size) == (offset, b.captured)
        assert b.captured <= CAP
        offset += b.captured
    assert offset == len(data)


@given(st.binary(max_size=5000), cuts, cuts, cuts)
def test_frames_may_be_cut_anywhere(
    data: bytes, ticks: list[int], some: list[int], others: list[int]
) -> None:
    headers = typed(EVENTS)
    assert run(stream(data, some, ticks, headers)) == run(stream(data, others, ticks, headers))


def _deflated(wbits: int) -> Callable[[list[bytes]], bytes]:
    def encode(texts: list[bytes]) -> bytes:
        stream = zlib.compressobj(wbits=wbits)
        out = [stream.compress(t) + stream.flush(zlib.Z_SYNC_FLUSH) for t in texts]
        return b"".join(out) + stream.flush()

    return encode


CODINGS: dict[str, Callable[[list[bytes]], bytes]] = {
    "gzip": _deflated(31),
    "deflate": _deflated(15),
    "x-gzip": lambda texts: b"".join(gzip.compress(t) for t in texts) or gzip.compress(b""),
    "br": lambda texts: brotli.compress(b"".join(texts)),
    "zstd": lambda texts: b"".join(zstd.compress(t) for t in texts) or zstd.compress(b""),
    "deflate, gzip": lambda texts: gzip.compress(zlib.compress(b"".join(texts))),
}
texts = st.lists(st.text(st.characters(codec="utf-8"), max_size=200), max_size=20)


@given(texts, st.sampled_from(sorted(CODINGS)), cuts, cuts)
def test_coded_parts_join_to_what_was_coded(
    told_texts: list[str], coding: str, frames: list[int], ticks: list[int]
) -> None:
    plain = [text.replace('"', "'").encode() for text in told_texts]
    coded = CODINGS[coding](plain)
    headers = typed(EVENTS, ("content-encoding", coding))
    found = run(stream(coded, frames, ticks, headers), body_bytes=16_384)
    shown = bodies(found)
    assert content(shown) == b"".join(plain)
    assert sum(b.captured for b in shown) == len(coded) == sum(b.size or 0 for b in shown)
    assert all(b.decoded for b in shown if b.text or b.base64)


secrets = st.sampled_from(
    [
        {"password": SECRET},
        {"user": {"access_token": SECRET, "name": 'q"uo\\te'}},
        {"token": [1, {"a": SECRET}, [[SECRET]], None]},
        {"x": "y", "Authorization": SECRET * 30},
        {"list": [{"k": "v"}] * 5, "secretKey": {"deep": {"er": SECRET}}},
    ]
)
plain = st.sampled_from([{"name": "apple"}, {"a": 'say "hi" \\'}, [], {"text": "\u4e2d\u6587" * 9}])


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Objects behind one another, as a watch or an SSE sends them."""
    found = draw(st.lists(st.one_of(secrets, plain), min_size=1, max_size=8))
    indent = draw(st.sampled_from([None, None, 2]))
    prefix = draw(st.sampled_from(["", "data: "]))
    between = "\n\n" if prefix else "\n"
    dumped = [prefix + json.dumps(f, indent=indent, ensure_ascii=False) for f in found]
    text = between.join(dumped) + between
    if draw(st.booleans()):
        text = text.replace("token", "t\\u006fken")
    return text.encode()


@given(documents(), cuts, cuts, st.integers(1024, 3000))
def test_a_secret_is_shown_in_no_part(
    data: bytes, frames: list[int], ticks: list[int], cap: int
) -> None:
    media = EVENTS if data.startswith(b"data") else "application/x-ndjson"
    found = run(stream(data, frames, ticks, typed(media)), body_bytes=cap)
    shown = content(bodies(found))
    assert b"hunt" not in shown
    assert b"ter2" not in shown
    assert shown.count(b"apple") == data.count(b"apple")
    assert shown.count(b"quo") == 0


@given(documents(), cuts, cuts, st.integers(0, 400), st.integers(1, 200))
def test_a_secret_is_not_shown_behind_a_gap_either(
    data: bytes, frames: list[int], ticks: list[int], lost_at: int, lost: int
) -> None:
    media = EVENTS if data.startswith(b"data") else "application/json"
    lost_at = min(lost_at, len(data) - 1)
    lost = min(lost, len(data) - lost_at)
    state = shard(body_bytes=CAP)
    before = stream(data[:lost_at], frames, ticks, typed(media))[:-1]
    after = [
        msgspec.structs.replace(frame, offset=frame.offset + lost_at + lost)
        for frame in stream(data[lost_at + lost :], frames, [], typed(media))[:-1]
        if hasattr(frame, "offset")
    ]
    late = tick(99 * SECOND, counter=99)
    hole = gap("response.body", lost, offset=lost_at)
    found = told(state, *before, hole, late, *after, end("response", len(data), at=99 * SECOND))
    shown = content(bodies(found))
    if not media.endswith("json") or b"  " not in data:  # not indented
        assert b"hunt" not in shown
        assert b"ter2" not in shown


form = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["a", "b%20c"]), st.sampled_from(["", "x"])),
        st.tuples(st.sampled_from(["password", "user[token]"]), st.just(SECRET)),
    ),
    max_size=30,
)


@given(form, cuts, cuts)
def test_a_secret_of_a_form_is_shown_in_no_part(
    pairs: list[tuple[str, str]], frames: list[int], ticks: list[int]
) -> None:
    data = "&".join(f"{name}={value}" for name, value in pairs).encode()
    found = run(stream(data, frames, ticks, typed("application/x-www-form-urlencoded")))
    assert b"hun" not in content(bodies(found))
    assert b"er2" not in content(bodies(found))


def _again(state: ShardState) -> ShardState:
    """As a snapshot keeps it."""
    rest, groups = saving.write(state, everything=True)
    return saving.read(Written(rest, {n: data for n, data in groups.items() if data}), state.limits)


conversations = st.lists(
    st.one_of(
        st.builds(websocket_message, st.binary(max_size=900), st.sampled_from(["text", "binary"])),
        st.just(websocket_message(b"bye", "close", close_code=1000)),
        st.just("tick"),
    ),
    max_size=20,
)


def _conversation(talk: list) -> list[AnyFrame]:
    timed = [tick(6 * SECOND * n, counter=n) if m == "tick" else m for n, m in enumerate(talk, 1)]
    return [opened(), *upgraded(), *timed, end("response")]


@given(
    st.one_of(
        st.builds(
            lambda data, f, t: stream(data, f, t, typed(EVENTS)),
            st.one_of(documents(), st.binary(max_size=4000)), cuts, cuts,
        ),
        st.builds(
            lambda texts, f, t: stream(
                _deflated(31)([x.encode() for x in texts]), f, t,
                typed(EVENTS, ("content-encoding", "gzip")),
            ),
            texts, cuts, cuts,
        ),
        conversations.map(_conversation),
    ),
    st.lists(st.integers(0, 40), max_size=5),
)  # fmt: skip
def test_a_snapshot_anywhere_changes_no_part(frames: list[AnyFrame], at: list[int]) -> None:
    whole, state = shard(body_bytes=CAP), shard(body_bytes=CAP)
    found = []
    for number, frame in enumerate(frames):
        if number in at:
            state = _again(state)
        found += fold(state, frame)
    assert found == told(whole, *frames)
    assert _again(state) == _again(whole)


@given(st.lists(st.binary(min_size=1, max_size=900), min_size=30, max_size=60), st.booleans())
def test_a_stream_that_never_ends_needs_no_more_memory(data: list[bytes], coded: bool) -> None:
    state = shard(body_bytes=CAP, coded_bytes=2048)
    more = [("content-encoding", "br")] if coded else []
    told(state, opened(), *request(), response_head(headers=typed(EVENTS, *more)))
    offset = 0
    for number, piece in enumerate(data * 3, 1):
        told(state, body(piece, offset=offset), tick(number * SECOND, counter=number))
        offset += len(piece)
        assert state.buffered <= CAP + 2048
        assert len(msgspec.msgpack.encode(state)) < 16_384


@given(
    st.lists(
        st.tuples(st.sampled_from(["request", "response"]), st.binary(max_size=600)), max_size=30
    )
)
def test_every_message_of_a_call_is_in_one_part(messages: list[tuple[str, bytes]]) -> None:
    state = shard(body_bytes=CAP)
    head = request_head(method="POST", headers=(("content-type", "application/grpc"),))
    counts = {"request": 0, "response": 0}
    frames: list[AnyFrame] = [opened(), head, response_head()]
    for side, data in messages:
        frames.append(grpc_message(data, side, counts[side]))
        counts[side] += 1
    found = told(state, *frames, end("request"), end("response"))
    shown = [m for w in found if w.grpc for m in w.grpc.messages]
    sides = {"request": "client", "response": "server"}
    assert [(m.sender, base64.b64decode(m.base64 or "")) for m in shown] == [
        (sides[side], data) for side, data in messages
    ]
    assert state.buffered == 0
