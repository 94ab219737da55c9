"""A bus that can't be used: one line with the mend, a non-zero exit, nothing half-begun."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from services import bus as buses
from services import runtime
from services.runtime import Runtime
from services.settings import SharedSettings
from tests.support.nats_server import NatsServer


async def _body(_: Runtime) -> None:
    raise AssertionError("the service began")


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    monkeypatch.setattr(buses, "CONNECT_FOR", 0.5)
    monkeypatch.setattr(runtime.linux, "harden", lambda: None)

    def run(**settings: object) -> str:
        assert runtime.run("parse", SharedSettings(**settings), _body) == 1  # type: ignore[arg-type]
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]

    return run


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_no_server(fails: Callable[..., str]) -> None:
    line = fails(nats_url=f"nats://127.0.0.1:{_closed_port()}")
    assert "no NATS server answers" in line
    assert "PLAINWIRE_NATS_URL" in line


@pytest.mark.parametrize("url", ["", "localhost:4222", "http://127.0.0.1:4222", "nats://"])
def test_no_nats_url(fails: Callable[..., str], url: str) -> None:
    assert "is no NATS URL" in fails(nats_url=url)


def test_plaintext_over_a_network(fails: Callable[..., str]) -> None:
    line = fails(nats_url="nats://user:hunter2@nats.example.com:4222")
    assert "neither loopback nor TLS" in line
    assert "hunter2" not in line


def test_a_server_without_jetstream(fails: Callable[..., str], plain_server: NatsServer) -> None:
    assert "JetStream is off" in fails(nats_url=plain_server.url)


def test_a_wrong_token(
    fails: Callable[..., str], locked_server: NatsServer, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("wrong")
    line = fails(nats_url=locked_server.url, nats_token_file=str(tmp_path / "token"))
    assert "refuses these credentials" in line
    assert "wrong" not in line


def test_a_token_file_that_is_not_there(fails: Callable[..., str]) -> None:
    assert "token file /nowhere: No such file" in fails(nats_token_file="/nowhere")


def test_a_health_port_that_is_taken(fails: Callable[..., str], nats_server: NatsServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = fails(nats_url=nats_server.url, health=address)
    assert f"can't listen on {address}" in line
    assert "PLAINWIRE_HEALTH" in line
