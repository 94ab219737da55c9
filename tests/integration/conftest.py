"""Integration: a real nats-server for each test, in a container where a Docker engine answers.

`TEST_NATS=process` or `=container` decides it by hand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nats_container import Container, engine_answers
from tests.support.nats_server import Engine, LocalProcess, NatsServer


def _engine() -> Engine:
    match os.environ.get("TEST_NATS", ""):
        case "container":
            return Container()
        case "process":
            return LocalProcess()
        case _:
            return Container() if engine_answers() else LocalProcess()


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    store = tmp_path / "nats"
    store.mkdir()
    with NatsServer(_engine(), store) as server:
        yield server


@pytest.fixture
def plain_server(tmp_path: Path) -> Iterator[NatsServer]:
    """Without JetStream."""
    store = tmp_path / "plain"
    store.mkdir()
    with NatsServer(_engine(), store, jetstream=False) as server:
        yield server


@pytest.fixture
def locked_server(tmp_path: Path) -> Iterator[NatsServer]:
    """Wants the token `right`."""
    store = tmp_path / "locked"
    store.mkdir()
    with NatsServer(_engine(), store, "--auth", "right") as server:
        yield server
