"""tap, coverage, ledger, doctor and decode on a real server: what they show, and what they say when
there is nothing to show. The services that publish are played by the test."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from services import bus as buses
from services import subjects
from services.bus import Outgoing
from services.messages import Coverage, CoverageEntry, Response, Source, Timing, Witness
from services.settings import SharedSettings
from services.telemetry import Telemetry
from tests.support import witnesses
from tests.support.command import COMMAND, environ, plainwire, until
from tests.support.nats_server import LocalProcess, NatsServer

COVERAGE = Coverage(
    node="n",
    time_ns=1,
    epoch=1,
    attached=(),
    processes=(CoverageEntry(pid=7, process="nginx", state="captured", library="openssl 3"),),
)


def witness(path: str, status: int) -> Witness:
    return witnesses.witness(
        id=path,
        protocol="http/2",
        role="server",
        source=Source(node="n", namespace="shop", workload="cart", pod="cart-1", pid=7),
        request=witnesses.request(authority="h.example:8443", path=path),
        response=Response(status=status, headers=(), trailers=(), body=witnesses.EMPTY),
        timing=Timing(),
    )


async def publish(server: NatsServer, *outgoing: Outgoing) -> None:
    settings = SharedSettings(nats_url=server.url, shards=1)
    bus = await buses.connect(settings, "test", Telemetry())
    for out in outgoing:
        await bus.publish(out)
    await bus.flush()
    await bus.close()


def stored(one: Witness) -> Outgoing:
    subject = subjects.stored_witness(one.source)
    return Outgoing(subject, msgspec.json.encode(one))


def tapped(server: NatsServer, outgoing: list[Outgoing], *arguments: str) -> list[str]:
    """What a tap of one message prints, while all of them are published again and again."""
    command = [*COMMAND, "tap", *arguments, "--nats", server.url, "-n", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ()
    ) as tap:

        def ended() -> bool:
            asyncio.run(publish(server, *outgoing))
            return tap.poll() is not None

        until(ended, "the tap shows nothing")
        assert tap.stdout is not None
        return tap.stdout.read().splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--status", "5xx"),
        ("--path", "/b*", "--host", "h.example"),
        ("--namespace", "shop", "--workload", "cart", "--pod", "cart-1", "--status", "503"),
    ],
    ids=["status", "path and host", "source"],
)
def test_a_tap_shows_what_its_filter_accepts(
    nats_server: NatsServer, arguments: tuple[str, ...]
) -> None:
    outgoing = [stored(witness("/b?x=SECRET", 503))]
    if arguments[0] != "--namespace":
        outgoing.insert(0, stored(witness("/a", 200)))
    (line,) = tapped(nats_server, outgoing, "witnesses", *arguments)
    assert "GET https://h.example:8443/b?x=*** 503" in line


def test_a_tap_of_coverage_and_as_json(nats_server: NatsServer) -> None:
    told = [Outgoing(subjects.coverage("n"), msgspec.json.encode(COVERAGE))]
    assert tapped(nats_server, told, "coverage") == ["n nginx[7] captured openssl 3"]
    (line,) = tapped(nats_server, told, "coverage", "--json")
    assert json.loads(line)["node"] == "n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("frames --workload curl", "`tap witnesses` can"),
        ("witnesses --payload", "bodies are in --json"),
        ("coverage --payload", "for tap raw and tap frames"),
    ],
)
def test_an_option_that_could_do_nothing_is_refused(
    nats_server: NatsServer, arguments: str, words: str
) -> None:
    ended = plainwire("tap", *arguments.split(), "--nats", nats_server.url)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_malformed_messages_are_said_and_survived(nats_server: NatsServer) -> None:
    lines = tapped(nats_server, [Outgoing("plainwire.frames.0", b"PW\x02\x01\x1b[2J")], "frames")
    assert set(lines) == {"plainwire: a message that can't be decoded: the batch holds no frames"}


def test_coverage_shows_the_last_word_of_each_node(nats_server: NatsServer) -> None:
    asyncio.run(
        publish(nats_server, Outgoing(subjects.coverage("n"), msgspec.json.encode(COVERAGE)))
    )
    shown = plainwire("coverage", "--nats", nats_server.url).stdout.splitlines()
    assert shown[0].startswith("n silent for ")
    assert shown[1:] == [
        "n: 1 captured",
        "PROCESS                  STATE        TLS",
        "nginx[7]                 captured     openssl 3",
    ]
    shown = plainwire("coverage", "--json", "--nats", nats_server.url).stdout.splitlines()
    assert [json.loads(line)["epoch"] for line in shown] == [1]


def test_nonsense_on_a_coverage_subject_hides_no_node(nats_server: NatsServer) -> None:
    told = (b"", b"[" * 5000, b'{"node":"\xff"}', b"{}")
    for number, payload in enumerate(told):
        asyncio.run(publish(nats_server, Outgoing(subjects.coverage(f"bad-{number}"), payload)))
    asyncio.run(
        publish(nats_server, Outgoing(subjects.coverage("n"), msgspec.json.encode(COVERAGE)))
    )
    ended = plainwire("coverage", "--nats", nats_server.url)
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1] == "nginx[7]                 captured     openssl 3"
    lines = ended.stderr.splitlines()
    assert lines == ["plainwire: a message on the bus is no coverage; it is left out"] * len(told)


@pytest.mark.parametrize("name", ["coverage", "ledger"])
def test_an_empty_bus_is_one_line(nats_server: NatsServer, name: str) -> None:
    ended = plainwire(name, "--nats", nats_server.url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["coverage", "ledger", "tap witnesses"])
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nats://127.0.0.1:1", "no NATS server answers at 127.0.0.1:1"),
        ("nats://192.0.2.1:4222", "neither loopback nor TLS"),
        ("http://127.0.0.1:1", "is no NATS URL"),
    ],
)
def test_a_wrong_url_is_one_line_with_the_mend(name: str, url: str, words: str) -> None:
    ended = plainwire(*name.split(), "--nats", url)
    assert ended.returncode == 1
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_wrong_credentials_are_said(locked_server: NatsServer, tmp_path: Path) -> None:
    ended = plainwire("ledger", "--nats", locked_server.url)
    assert ended.returncode == 1
    assert "set PLAINWIRE_NATS_TOKEN_FILE" in ended.stderr
    token = tmp_path / "token"
    token.write_text("right\n")
    ended = plainwire("ledger", "--nats", locked_server.url, PLAINWIRE_NATS_TOKEN_FILE=str(token))
    assert "no service answers" in ended.stderr


def bus_lines(*arguments: str) -> list[str]:
    lines = plainwire("doctor", *arguments).stdout.splitlines()
    return [line for line in lines if line.partition(" ")[2].strip().startswith("bus")]


def test_doctor_judges_the_bus(nats_server: NatsServer) -> None:
    address, memory = bus_lines("--nats", nats_server.url)
    assert address.startswith("ok   bus: 127.0.0.1:")
    assert memory.startswith("ok   bus memory: ")


def test_doctor_sees_that_jetstream_is_off(plain_server: NatsServer) -> None:
    (line,) = bus_lines("--nats", plain_server.url)
    assert line.startswith("fail bus: JetStream is off")
    assert line.endswith("mend: nats-server -js")


def test_doctor_sees_too_little_memory(tmp_path: Path) -> None:
    configuration = tmp_path / "c.conf"
    configuration.write_text(f'jetstream {{ store_dir: "{tmp_path}/js", max_memory_store: 16MB }}')
    with NatsServer(LocalProcess(), tmp_path, "-c", str(configuration), jetstream=False) as server:
        _, line = bus_lines("--nats", server.url)
    assert line.startswith("fail bus memory: 8 MiB free")
    assert "max_memory_store" in line


def test_doctor_sees_that_nobody_answers() -> None:
    (line,) = bus_lines("--nats", "nats://127.0.0.1:1")
    assert line.startswith("fail bus: no NATS server answers at 127.0.0.1:1")


@pytest.mark.parametrize("data", [b"", b"nonsense", b"PW\x01\x01\xff"])
def test_decode_ends_with_1_and_one_line_on_nonsense(data: bytes) -> None:
    ended = subprocess.run(
        [*COMMAND, "decode"], input=data, capture_output=True, env=environ(), check=False
    )
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.count(b"\n") == 1


def test_decode_needs_nothing_that_is_slow_to_import() -> None:
    text = (
        "import sys, io; sys.stdin = io.TextIOWrapper(io.BytesIO(b'{}')); "
        "from services.cli.main import main; main(['decode']); "
        "print([m for m in ('asyncio', 'nats', 'bcc', 'opentelemetry') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, env=environ(), check=True
    )
    assert ended.stdout.splitlines() == ["{}", "[]"]
