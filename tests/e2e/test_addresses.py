"""Both ends of each connection, as the programs themselves say: right, or absent; never another's.

One pipeline for all. What connected before it attached, and what is on sockets without addresses,
too. Go is not here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from demo import certificate
from services.messages import Witness
from tests.bench.load import free_port
from tests.e2e.apps.addressed import MANY, REQUESTS, TLS_PORTS
from tests.support import leftovers, pipeline
from tests.support.pipeline import Pipeline
from tests.support.workload import ROOT

SECONDS = 60
Ends = tuple[str | None, str | None]
_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location / {{ return 200 'ok'; }}
    location /upstream {{
      proxy_pass https://127.0.0.1:{upstream}/;
      proxy_http_version 1.1;
      proxy_set_header connection "";
    }}
  }}
}}
"""


_NODE = f"""
const https = require("https");
const agent = new https.Agent({{keepAlive: true, rejectUnauthorized: false}});
function ask(n) {{
  const headers = {{"x-request-id": `node-${{n}}`}};
  https.get(process.argv[1], {{agent, headers}}, (response) => {{
    response.resume();
    response.on("end", () => n + 1 < {REQUESTS} ? ask(n + 1) : agent.destroy());
  }});
}}
ask(0);
"""


class Servers(NamedTuple):
    folder: Path
    tls: list[int]
    tls6: int
    plain: int
    log: Path


class Early(NamedTuple):
    process: subprocess.Popen[str]
    log: Path

    def go(self) -> None:
        self.process.communicate("go\n", SECONDS)
        assert self.process.returncode == 0


class Place(NamedTuple):
    line: Pipeline
    servers: Servers
    early: dict[str, Early]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The servers and the early clients are older than the probes."""
    folder = tmp_path_factory.mktemp("addresses")
    with leftovers.none_left("addresses"), ExitStack() as stack:
        servers = stack.enter_context(_serving(folder))
        early = {
            "early": _early(stack, servers, "early", "early-sync", servers.tls[:2]),
            "many": _early(stack, servers, "many", "early-many", [*servers.tls, servers.plain]),
        }
        node = os.path.realpath(shutil.which("node") or "/nonexistent")
        running = pipeline.running(tmp_path_factory.mktemp("line"), PLAINWIRE_DISCOVERY_FILES=node)
        line = stack.enter_context(running)
        yield Place(line, servers, early)


@contextmanager
def _serving(folder: Path) -> Iterator[Servers]:
    cert, key = certificate.make(folder)
    log = folder / "server.log"
    with _program("serve", log, cert, key, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        *tls, tls6, plain = map(int, process.stdout.readline().split())
        yield Servers(folder, tls, tls6, plain, log)
        process.communicate("", SECONDS)


def _early(stack: ExitStack, servers: Servers, role: str, name: str, ports: list[int]) -> Early:
    log = servers.folder / f"{name}.log"
    process = stack.enter_context(_program(role, log, name, *ports, stdin=subprocess.PIPE))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return Early(process, log)


@contextmanager
def _program(
    *arguments: object, stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.e2e.apps.addressed", *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _run(place: Place, role: str, name: str, *ports: int) -> dict[str, Ends]:
    """What the client wrote down."""
    log = place.servers.folder / f"{name}.log"
    environment = {
        **os.environ,
        "CERTIFICATE": str(place.servers.folder / "certificate.pem"),
        "KEY": str(place.servers.folder / "key.pem"),
    }
    command = [sys.executable, "-m", "tests.e2e.apps.addressed", role, log, name, *ports]
    subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, check=True, timeout=SECONDS)
    return _read(log) if log.exists() else {}


def _read(log: Path) -> dict[str, Ends]:
    lines = [line.split() for line in log.read_text().splitlines()]
    return {request: (here, there) for request, here, there in lines}


def _ends(place: Place, prefix: str, role: str) -> dict[str, Ends]:
    place.line.settle()
    stored = [found.witness for found in place.line.witnesses(prefix)]
    ours = [witness for witness in stored if witness.role == role]
    assert len(ours) == len({pipeline.request_id(witness) for witness in ours})
    return {pipeline.request_id(witness): _of(witness) for witness in ours}


def _of(witness: Witness) -> Ends:
    return witness.connection.local, witness.connection.peer


def _swapped(ends: dict[str, Ends]) -> dict[str, Ends]:
    return {request: (there, here) for request, (here, there) in ends.items()}


def _with_tls(ends: dict[str, Ends], place: Place) -> dict[str, Ends]:
    plain = f"127.0.0.1:{place.servers.plain}"
    return {request: found for request, found in ends.items() if found[1] != plain}


def test_a_client_that_blocks_and_its_server_over_both_families(place: Place) -> None:
    servers = place.servers
    truth = _run(place, "sync", "sync", *servers.tls, servers.tls6)
    assert len(truth) == (TLS_PORTS + 1) * REQUESTS
    assert _ends(place, "sync", "client") == truth
    assert _ends(place, "sync", "server") == _swapped(truth)


def test_fifty_connections_of_asyncio_to_five_servers_on_one_thread(place: Place) -> None:
    servers = place.servers
    truth = _with_tls(_run(place, "many", "many", *servers.tls, servers.plain), place)
    assert len(truth) == MANY * REQUESTS
    assert _ends(place, "many", "client") == truth
    assert _ends(place, "many", "server") == _swapped(truth)


def test_calls_within_a_call_are_not_crossed(place: Place) -> None:
    """The server asks others on the thread that answers, with and without TLS."""
    servers = place.servers
    truth = _run(place, "relayed", "relayed", servers.tls[0], servers.tls[1], servers.plain)
    outward = {request: ends for request, ends in _read(servers.log).items() if "-out" in request}
    assert len(outward) == len(truth) == REQUESTS
    local = {name: e for name, e in _ends(place, "relayed", "client").items() if "-out" in name}
    assert {peer for _, peer in local.values()} == {f"127.0.0.1:{servers.tls[1]}"}
    asked = {name: e for name, e in _ends(place, "relayed", "client").items() if name in truth}
    assert asked == truth
    answered = _ends(place, "relayed", "server")
    assert {name: answered[name] for name in truth} == _swapped(truth)
    assert {name: local[name] for name in outward} == _swapped(
        {name: answered[name] for name in outward}
    )


def test_what_a_callback_does_within_a_call_proves_nothing(place: Place) -> None:
    servers = place.servers
    ports = (*servers.tls[:2], servers.plain)
    truth = _with_tls(_run(place, "called_back", "called", *ports), place)
    assert len(truth) == REQUESTS + 1
    found = _ends(place, "called-", "client")
    assert found.keys() == truth.keys()
    assert all(found[name] in (truth[name], (None, None)) for name in truth)
    last = f"called-{REQUESTS - 1}"
    assert found[last] == truth[last]


@pytest.mark.parametrize("kind", ["early", "many"])
def test_connections_that_were_open_before_the_attach(kind: str, place: Place) -> None:
    """The server was waiting in a read whose begin nobody saw: its first request may be missed."""
    early = place.early[kind]
    early.go()
    truth = _with_tls(_read(early.log), place)
    name = early.log.stem
    assert len(truth) == (MANY if kind == "many" else 2) * REQUESTS
    assert _ends(place, name, "client") == truth
    answered = _ends(place, name, "server")
    assert answered.items() <= _swapped(truth).items()
    assert len(answered) >= len(truth) - len(truth) // REQUESTS


def test_a_descriptor_that_became_another_socket(place: Place) -> None:
    truth = _run(place, "replaced", "replaced", *place.servers.tls[:2])
    assert {peer for _, peer in truth.values()} == {f"127.0.0.1:{place.servers.tls[1]}"}
    assert _ends(place, "replaced", "client") == truth
    assert _ends(place, "replaced", "server") == _swapped(truth)


def test_sockets_without_addresses_have_none(place: Place) -> None:
    _run(place, "local", "local", place.servers.plain)
    for role in ("client", "server"):
        found = _ends(place, "local", role)
        assert len(found) == REQUESTS
        assert set(found.values()) == {(None, None)}


@pytest.mark.parametrize("program", ["node", "wget"])
def test_other_libraries_with_buffers_or_descriptors_of_their_own(
    program: str, place: Place
) -> None:
    """Node's BIOs keep their own memory, in a static OpenSSL; wget has GnuTLS."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    url = f"https://127.0.0.1:{place.servers.tls[0]}/"
    commands = {
        "node": ["node", "-e", _NODE, url],
        "wget": ["wget", "-qO-", "--no-check-certificate", "--header=x-request-id: wget-0", url],
    }
    subprocess.run(commands[program], check=True, capture_output=True, timeout=SECONDS)
    log = _read(place.servers.log)
    truth = {name: ends for name, ends in log.items() if name.startswith(f"{program}-")}
    assert len(truth) == (REQUESTS if program == "node" else 1)
    assert _ends(place, f"{program}-", "server") == truth
    assert _ends(place, f"{program}-", "client") == _swapped(truth)


def test_curl_and_nginx_as_server_and_as_proxy(place: Place, tmp_path: Path) -> None:
    with _nginx(tmp_path, place.servers.tls[0]) as port:
        for n, path in enumerate(["/", "/upstream"] * 3):
            _curl(f"nginx-{n}", f"https://127.0.0.1:{port}{path}", tmp_path / "curl.log")
    truth = _read(tmp_path / "curl.log")
    upstream = {k: v for k, v in _read(place.servers.log).items() if k.startswith("nginx-")}
    assert (len(truth), len(upstream)) == (6, 3)
    place.line.settle()
    found: dict[tuple[str, str], dict[str, Ends]] = {}
    for stored in place.line.witnesses("nginx-"):
        own = found.setdefault((stored.witness.source.process, stored.witness.role), {})
        own[pipeline.request_id(stored.witness)] = _of(stored.witness)
    assert found["curl", "client"] == truth
    assert found["nginx", "server"] == _swapped(truth)
    assert found["nginx", "client"] == _swapped(upstream)
    assert found["python", "server"] == upstream


@contextmanager
def _nginx(folder: Path, upstream: int) -> Iterator[int]:
    cert, key = certificate.make(folder)
    folder.chmod(0o755)
    port, config = free_port(), folder / "nginx.conf"
    config.write_text(
        _NGINX.format(folder=folder, port=port, upstream=upstream, certificate=cert, key=key)
    )
    command = ["nginx", "-e", str(folder / "error.log"), "-c", str(config)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()


def _curl(request: str, url: str, log: Path) -> None:
    told = f"{request} %{{local_ip}}:%{{local_port}} %{{remote_ip}}:%{{remote_port}}\n"
    command = ["curl", "-ksS", "--retry", "20", "--retry-connrefused", "--retry-delay", "1"]
    printed = subprocess.run(
        [*command, "-H", f"x-request-id: {request}", "-o", "/dev/null", "-w", told, url],
        check=True, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    with log.open("a") as file:
        file.write(printed.stdout)
