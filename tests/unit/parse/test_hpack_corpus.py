"""Published header blocks (tests/corpus/hpack-test-case): decoded whole, and joined at each block.

Joined in the middle a field may be unknown, but is never another one, and none is missing.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.parse import hpack

_CORPUS = Path(__file__).parents[2] / "corpus" / "hpack-test-case"
_STORIES = sorted(_CORPUS.glob("*/*.json"))
_LIMIT = 1 << 20


def _story(path: Path) -> list[tuple[bytes, list[tuple[str, str]]]]:
    cases = json.loads(path.read_text())["cases"]
    return [
        (bytes.fromhex(case["wire"]), [field for h in case["headers"] for field in h.items()])
        for case in cases
    ]


def _decoded(table: hpack.Table, wire: bytes) -> list[hpack.Field]:
    block = hpack.decode(table, wire, _LIMIT)
    assert block is not None
    assert not block.too_large
    return block.fields


@pytest.mark.parametrize("path", _STORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_story_from_its_beginning_is_exact(path):
    table = hpack.Table()
    for wire, fields in _story(path):
        assert _decoded(table, wire) == fields
    assert not table.partial


@pytest.mark.parametrize("path", _STORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_story_joined_at_any_block_names_nothing_wrong(path):
    story = _story(path)
    for start in range(1, min(len(story), 120)):
        _follow(story[start : start + 60])


def _follow(cases):
    table = hpack.Table(partial=True)
    for wire, fields in cases:
        found = _decoded(table, wire)
        assert len(found) == len(fields)
        for (name, value), expected in zip(found, fields, strict=True):
            assert (name, value) == expected or (name, value) == (None, None)


def test_the_corpus_is_there_with_its_licence():
    assert len(_STORIES) == 24
    assert (_CORPUS / "LICENSE").exists()
