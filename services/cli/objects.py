"""Any message of the bus as one JSON object, for `tap --json`. Pure. Payload bytes and header
values are in it only where they are asked for."""

from __future__ import annotations

import base64

import msgspec

from services.cli.decoding import Undecodable
from services.messages import AnyFrame, FrameBatch, RawHead
from services.records import (
    Kind,
    MalformedBatch,
    Record,
    decode_decision,
    decode_frames,
    decode_raw,
    kind_of,
)

_CAPTURED = frozenset({"data", "headers", "trailers"})


def as_object(data: bytes, *, payload: bool) -> bytes:
    """Raises Undecodable."""
    try:
        match kind_of(data):
            case Kind.RAW:
                return msgspec.json.encode(_raw(*decode_raw(data), payload=payload))
            case Kind.FRAMES:
                return msgspec.json.encode(_frames(decode_frames(data), payload=payload))
            case Kind.DECISION:
                return msgspec.json.encode({"silent": decode_decision(data)})
            case None:
                msgspec.json.decode(data)
                return data
    except MalformedBatch as error:
        raise Undecodable(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Undecodable("neither a Plainwire batch nor JSON") from None


def _raw(head: RawHead, records: list[Record], *, payload: bool) -> dict[str, object]:
    return {
        "head": _named(head),
        "records": [_record(record, payload=payload) for record in records],
    }


def _record(record: Record, *, payload: bool) -> dict[str, object]:
    shown: dict[str, object] = {
        "connection": f"{record.connection:016x}",
        "direction": record.direction.name.lower(),
        "offset": record.offset,
        "size": len(record.payload),
        "lost": record.lost.total(),
        "boot_ns": record.boot_ns,
    }
    return {**shown, "base64": _base64(bytes(record.payload))} if payload else shown


def _frames(batch: FrameBatch, *, payload: bool) -> dict[str, object]:
    frames = [_frame(frame, payload=payload) for frame in batch.frames]
    return {**_named(batch), "frames": frames}


def _frame(frame: AnyFrame, *, payload: bool) -> dict[str, object]:
    shown = _named(frame)
    if not payload:
        shown = {name: value for name, value in shown.items() if name not in _CAPTURED}
    return {"frame": frame.__struct_config__.tag, **shown}


def _named(value: object) -> dict[str, object]:
    """A struct's fields by name: on the bus they are arrays, to be short."""
    shown = _plain(value)
    assert isinstance(shown, dict)
    return shown


def _plain(value: object) -> object:
    match value:
        case msgspec.Struct():
            fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
            return {
                name: f"{inner:016x}" if name == "connection" else _plain(inner)
                for name, inner in fields
            }
        case tuple() | list():
            return [_plain(inner) for inner in value]
        case bytes():
            return _base64(value)
        case _:
            return value


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
