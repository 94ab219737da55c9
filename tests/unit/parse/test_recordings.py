"""Recorded traffic of real programs (tests/e2e/test_protocols.py made it) tells its story again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.scenario import play
from tests.support.recording import CORPUS, jsonable, kept, replay, story

RECORDINGS = sorted(CORPUS.glob("*.json"))
SCENARIOS = sorted((CORPUS.parent / "fuzz").iterdir())


def named(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", RECORDINGS, ids=named)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_recording_tells_what_its_programs_logged(path, seed):
    recorded, told = kept(path)
    source = random.Random(seed)
    sizes = None if seed is None else lambda: source.randint(1, 3000)
    assert jsonable(story(replay(recorded, sizes))) == told


@pytest.mark.parametrize("path", SCENARIOS, ids=named)
def test_what_fuzzing_found_or_began_with_breaks_nothing(path):
    play(path.read_bytes())
