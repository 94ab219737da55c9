"""Tools of this machine that tests build with, and where what they built is kept between runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plainwire-tests"


def tool(name: str) -> str:
    """Its path; the test that wants it is skipped where it is missing."""
    if (path := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed")
    return path
