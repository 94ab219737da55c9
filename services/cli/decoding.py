"""Any message of the bus as text, from its bytes alone. Pure.

Payload bytes and header values are not printed unless they are asked for, and then escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from services.cli.rendering import coverage_lines, escape, target, witness_line
from services.messages import (
    AnyFrame,
    BodyFrame,
    Coverage,
    FrameBatch,
    GrpcFrame,
    RawHead,
    RequestHead,
    ResponseHead,
    WebSocketFrame,
    Witness,
    raw_id,
    silence_id,
)
from services.records import (
    Kind,
    MalformedBatch,
    Record,
    decode_decision,
    decode_frames,
    decode_raw,
    kind_of,
)

_QUIET_FIELDS = frozenset({"connection", "time_ns", "headers", "trailers", "data", "source"})


class Undecodable(ValueError):
    """One line: why the bytes are no message of ours. Never quotes them."""


def decode(data: bytes, *, payload: bool) -> list[str]:
    """Raises Undecodable."""
    try:
        match kind_of(data):
            case Kind.RAW:
                head, records = decode_raw(data)
                return list(raw_lines(head, records, payload=payload))
            case Kind.FRAMES:
                return list(frame_lines(decode_frames(data), payload=payload))
            case Kind.DECISION:
                silent = decode_decision(data)
                return [escape(f"decision {silence_id(silent)}: nothing has come since")]
            case None:
                return list(_json_lines(data))
    except MalformedBatch as error:
        raise Undecodable(str(error)) from None


def raw_lines(head: RawHead, records: Iterable[Record], *, payload: bool) -> Iterator[str]:
    records = list(records)
    size = sum(len(record.payload) for record in records)
    count = "1 record" if len(records) == 1 else f"{len(records)} records"
    what = f"{count}, {size} bytes" if records else "tick"
    yield escape(f"raw {raw_id(head)} {what}, {head.totals.seen_bytes} bytes seen so far")
    for opened in head.opened:
        source = opened.source
        yield escape(
            f"  open {opened.connection:016x} {source.process or source.workload}[{source.pid}]"
            f" {source.tls}"
        )
    for record in records:
        yield _record_line(record, payload=payload)
    for tail in head.tails:
        yield f"  tail {tail.connection:016x} {tail.direction.name.lower()} {tail.final.offset}"
    for closed in head.closed:
        yield escape(f"  close {closed.connection:016x} {closed.reason}")


def _record_line(record: Record, *, payload: bool) -> str:
    lost = f" lost {record.lost.total()}" if record.lost.total() else ""
    line = (
        f"  {record.connection:016x} {record.direction.name.lower():7} "
        f"{record.offset}+{len(record.payload)}{lost}"
    )
    return f"{line} {_shown(record.payload)}" if payload else line


def _shown(payload: bytes | memoryview) -> str:
    """UTF-8 as it reads, any other byte as \\xNN."""
    return escape(bytes(payload).decode(errors="backslashreplace"))


def frame_lines(batch: FrameBatch, *, payload: bool) -> Iterator[str]:
    yield escape(
        f"frames shard {batch.shard} #{batch.counter} of {batch.origin}/{batch.piece}: "
        f"{len(batch.frames)}"
    )
    for frame in batch.frames:
        yield f"  {frame.connection:016x} {_frame_text(frame, payload=payload)}"


def _frame_text(frame: AnyFrame, *, payload: bool) -> str:
    kind = str(frame.__struct_config__.tag)
    match frame:
        case RequestHead():
            where = target(frame.authority, frame.path, frame.scheme)
            text = f"{kind} {frame.stream} {frame.protocol} {escape(frame.method or '?')} {where}"
        case ResponseHead():
            text = f"{kind} {frame.stream} {frame.protocol} {frame.status}"
        case BodyFrame():
            text = f"{kind} {frame.stream} {frame.side} {frame.offset}+{frame.size}"
        case _:
            text = f"{kind} {_fields(frame)}".rstrip()
    if not payload:
        return text
    if isinstance(frame, BodyFrame | GrpcFrame | WebSocketFrame):
        return f"{text} {_shown(frame.data)}"
    headers = getattr(frame, "headers", ())
    return text + "".join(f"\n    {escape(f'{name}: {value}')}" for name, value in headers)


def _fields(frame: AnyFrame) -> str:
    shown = []
    for name in frame.__struct_fields__:
        value = getattr(frame, name)
        if name not in _QUIET_FIELDS and value not in (None, "", False):
            shown.append(f"{name}={escape(getattr(value, 'name', None) or str(value))}")
    source = getattr(frame, "source", None)
    if source is not None:
        shown.insert(0, f"{escape(source.process or source.workload)}[{source.pid}]")
    return " ".join(shown)


def _json_lines(data: bytes) -> Iterable[str]:
    """A witness or a coverage as its lines; other JSON objects as compact JSON."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Undecodable("neither a Plainwire batch nor JSON") from None
    if not isinstance(value, dict):
        raise Undecodable("JSON, but no message of Plainwire's: not an object")
    try:
        if "timing" in value:
            return [witness_line(msgspec.convert(value, Witness))]
        if "attached" in value:
            return coverage_lines(msgspec.convert(value, Coverage))
    except msgspec.ValidationError:
        raise Undecodable("JSON, but a message that this release can't read") from None
    return [escape(msgspec.json.encode(value).decode())]
