"""The number of a snapshot's format changes whenever the shape of what is saved does.

The shape is that of every struct within, with its fields, their order and their types; what the
fields mean, nobody can digest.
"""

from __future__ import annotations

import hashlib
import json
from types import ModuleType

import msgspec
import pytest

from services.collect import saving as collect_saving
from services.collect import state as collect_state
from services.parse import saving as parse_saving
from services.parse import shard as parse_shard

# A shape that is not here: raise FORMAT, and add a row. Rows are never changed.
SHAPES = {
    "parse": {
        2: "8d40f026d91efaa2",
        3: "2d523440b2da89fe",
        4: "05e63bd963097b24",
        5: "c8bbf31a01add502",
    },
    "collect": {2: "69b26c67dcf6c186", 3: "5d8e37aa0fd7441a", 4: "d65ce8321bb1fa1f"},
}


def shape(*saved: type) -> str:
    """Docstrings are no part of it."""
    _, components = msgspec.json.schema_components(saved, ref_template="{name}")
    bare = {name: _bare(schema) for name, schema in components.items()}
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()[:16]


def _bare(schema: object) -> object:
    if isinstance(schema, dict):
        return [[key, _bare(value)] for key, value in schema.items() if key != "description"]
    return [_bare(value) for value in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize(
    ("name", "saving", "rest"),
    [
        ("parse", parse_saving, parse_shard.ShardState),
        ("collect", collect_saving, collect_state.ShardState),
    ],
)
def test_another_shape_has_another_number(name: str, saving: ModuleType, rest: type) -> None:
    known = SHAPES[name]
    assert (saving.FORMAT, shape(rest, saving.Group)) == (max(known), known[max(known)])
    assert len(set(known.values())) == len(known)


def test_a_field_more_or_in_another_place_or_of_another_type_is_another_shape() -> None:
    def struct(*fields: tuple[str, type], array_like: bool = False) -> type:
        return msgspec.defstruct("Saved", fields, array_like=array_like)

    one, within = struct(("a", int), ("b", str)), msgspec.defstruct("Within", [("d", int)])
    others = [
        struct(("a", int)),
        struct(("b", str), ("a", int)),
        struct(("a", int), ("b", str), array_like=True),
        struct(("a", int), ("b", bytes)),
        struct(("a", int), ("b", str), ("c", within)),
    ]
    assert len({shape(kind) for kind in (one, *others)}) == 6
