"""Settings: where they come from, which wins, and that a typo is never a default."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.settings import SettingsError, SharedSettings, load


class CaptureSettings(SharedSettings, frozen=True, kw_only=True):
    pids: tuple[int, ...] = ()
    ring_mib: int = 32


class ParseSettings(SharedSettings, frozen=True, kw_only=True):
    idle_seconds: float = 60


KNOWN: dict[str, type[SharedSettings]] = {"capture": CaptureSettings, "parse": ParseSettings}


def capture(environ: dict[str, str], path: Path | None = None) -> CaptureSettings:
    return load(CaptureSettings, "capture", environ, str(path) if path else None, KNOWN)


def test_variables_are_typed() -> None:
    found = capture(
        {
            "PLAINWIRE_SHARDS": "4",
            "PLAINWIRE_NATS_ALLOW_PLAINTEXT": "true",
            "PLAINWIRE_CAPTURE_PIDS": "1, 2",
            "PATH": "/bin",
        }
    )
    assert (found.shards, found.nats_allow_plaintext, found.pids) == (4, True, (1, 2))


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "plainwire.toml"
    path.write_text('node = "a"\nshards = 2\n[capture]\nring_mib = 8\n[parse]\nidle_seconds = 5\n')
    found = capture({"PLAINWIRE_SHARDS": "3"}, path)
    assert (found.node, found.shards, found.ring_mib) == ("a", 3, 8)


def test_another_services_settings_are_let_be() -> None:
    assert capture({"PLAINWIRE_PARSE_IDLE_SECONDS": "5"}).ring_mib == 32


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PLAINWIRE_NATS_PORT", "tcp://10.0.0.1:4222"),
        ("PLAINWIRE_NATS_SERVICE_HOST", "10.0.0.1"),
        ("PLAINWIRE_NATS_SERVICE_PORT", "4222"),
        ("PLAINWIRE_NATS_PORT_4222_TCP_ADDR", "10.0.0.1"),
        ("PLAINWIRE_NATS_PORT_4222_TCP_PORT", "4222"),
        ("PLAINWIRE_NATS_PORT_4222_TCP_PROTO", "tcp"),
        ("PLAINWIRE_NATS_SERVICE_PORT_CLIENT", "4222"),
    ],
)
def test_what_kubernetes_injects_for_a_service_is_ignored(name: str, value: str) -> None:
    assert capture({name: value}).nats_url == "nats://127.0.0.1:4222"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"PLAINWIRE_SHARD": "4"},
            "unknown setting PLAINWIRE_SHARD; did you mean PLAINWIRE_SHARDS",
        ),
        ({"PLAINWIRE_PARSE_X": "4"}, "unknown setting PLAINWIRE_PARSE_X"),
        ({"PLAINWIRE_CAPTURE_RING": "4"}, "did you mean PLAINWIRE_CAPTURE_RING_MIB"),
        ({"PLAINWIRE_CAPTURE_FOO": "4"}, "unknown setting PLAINWIRE_CAPTURE_FOO; known are"),
        ({"PLAINWIRE_HEALTH": "8081"}, "PLAINWIRE_HEALTH is no host:port: 8081"),
        ({"PLAINWIRE_HEALTH": "localhost:http"}, "PLAINWIRE_HEALTH is no host:port"),
        ({"PLAINWIRE_HEALTH": "localhost:65536"}, "PLAINWIRE_HEALTH is no host:port"),
        ({"PLAINWIRE_SHARDS": "many"}, r"Expected `int`.*shards"),
        ({"PLAINWIRE_SHARDS": "0"}, r">= 1.*shards"),
        ({"PLAINWIRE_CAPTURE_PIDS": "1,x"}, r"Expected `int`.*pids"),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        capture(environ)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shards = ", "is no TOML"),
        ("shardz = 1", "unknown setting shardz; did you mean shards"),
        ("[capture]\nring = 1", r"table \[capture\]: unknown setting ring"),
        ("[parse]\nring_mib = 1", r"table \[parse\]: unknown setting ring_mib"),
        ("capture = 1", "unknown setting capture"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plainwire.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        capture({}, path)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match=r"settings file /nowhere: No such file"):
        load(CaptureSettings, "capture", {}, "/nowhere", KNOWN)
