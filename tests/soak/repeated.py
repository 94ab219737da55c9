"""Integration tests at length: `PLAINWIRE_SOAK` makes them longer."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys


def cluster(_: argparse.Namespace) -> None:
    _pytest("tests/integration/test_restart_cluster.py")


def bus(_: argparse.Namespace) -> None:
    _pytest("tests/integration/test_restart_bus.py")


def _pytest(path: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--show-capture=no", path]
    done = subprocess.run(command, env=os.environ | {"PLAINWIRE_SOAK": "1"}, check=False)
    assert done.returncode == 0, path
