"""What real programs said to each other by their own logs, and what parse reads of a recording.

Recorded through the real capture at an end whose TLS is OpenSSL's: Go and Node have their own.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.support import go_programs
from tests.support import proxy as proxies
from tests.support.recording import Exchange, Recording, keep, recording, replay, story
from tests.support.workload import ROOT

APPS = ROOT / "tests" / "e2e" / "apps"
Row = tuple[str, str | None, str | None, int | None, int | None]


def rows(exchanges: list[Exchange]) -> list[Row]:
    """As nginx and the clients log them."""
    return sorted(
        (e.protocol.replace("http/2", "http/2.0"), e.method, e.path, e.status, e.received)
        for e in exchanges
    )  # type: ignore[type-var]


def checked(recorded: Recording) -> list[Exchange]:
    """The same however the records are cut, with state restored after each."""
    whole = story(replay(recorded))
    source = random.Random(1)
    assert story(replay(recorded, lambda: source.randint(1, 4000))) == whole
    assert whole.opaque == 0
    return whole.exchanges


async def run(*command: str | Path) -> str:
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_curl_and_nginx(tmp_path, version):
    (tmp_path / "upload").write_bytes(b"u" * 50_000)
    with proxies.proxy(tmp_path) as server:
        async with recording(tmp_path) as recorded:
            urls = [f"{server.url}/{path}" for path in ("a?b=%20c", "large", "none", "missing")]
            await run("curl", "-sk", version, *[a for u in urls for a in ("-o", "/dev/null", u)])
            await run("curl", "-sk", version, "-I", f"{server.url}/head")
            await run(
                "curl", "-sk", version, "-H", "Expect:", "-T", tmp_path / "upload",
                f"{server.url}/put",
            )  # fmt: skip
            await run(
                "curl", "-sk", version, "-H", "Transfer-Encoding: chunked", "-d", "a=1",
                f"{server.url}/chunked",
            )  # fmt: skip
            served = server.served(7)
    found = recorded()
    for process in ("curl", "nginx"):
        assert rows(checked(found.of(process))) == served, process
    sent = {e.path: e.sent for e in checked(found.of("nginx"))}
    if version == "--http1.1":  # over HTTP/2 nginx answers first and resets what is still to come
        assert (sent["/put"], sent["/chunked"]) == (50_000, 3)
    keep(f"curl-nginx{version.replace('--', '-')}", found.of("nginx"))


async def test_node_and_nginx(tmp_path):
    with proxies.proxy(tmp_path) as server:
        async with recording(tmp_path) as recorded:
            out = await run("node", APPS / "node_client.js", server.url)
            served = server.served(29)
    told = sorted(tuple(json.loads(line)) for line in out.splitlines())
    found = recorded().of("nginx")
    assert rows(checked(found)) == served == told
    keep("node-nginx", found)


async def test_go_and_nginx(tmp_path):
    program = go_programs.build(APPS / "go_client")
    with proxies.proxy(tmp_path) as server:
        async with recording(tmp_path) as recorded:
            out = await run(program, server.url)
            served = server.served(28)
    told = sorted(tuple(json.loads(line)) for line in out.splitlines())
    found = recorded().of("nginx")
    assert rows(checked(found)) == served == told
    keep("go-nginx", found)


@contextmanager
def listening(
    command: list[str | Path], port: int, out: int | IO[bytes] = subprocess.DEVNULL
) -> Iterator[None]:
    with subprocess.Popen(command, stdout=out) as process:
        try:
            proxies.wait_for(port)
            yield
        finally:
            process.terminate()


ASKED = ["/a?b=1", "/none", "/missing", "/hints", "/trailers", "/events", "/large"]
VERSIONS = ["--http1.1", "--http2"]


async def test_curl_and_servers_whose_tls_is_their_own(tmp_path):
    """Recorded at curl's end; the servers log what they answered, curl what it got."""
    programs = {"node": ["node", APPS / "node_server.js"],
                "go": [go_programs.build(APPS / "go_server")]}  # fmt: skip
    answers, got = tmp_path / "answers", []
    with proxies.proxy(tmp_path) as server:
        async with recording(tmp_path) as recorded:
            for program in programs.values():
                port = proxies.free_port()
                command = [*program, server.certificate, server.key, str(port)]
                with answers.open("ab") as log, listening(command, port, log):
                    for version in VERSIONS:
                        got += await _ask(f"https://127.0.0.1:{port}", version)
    told = sorted(tuple(json.loads(line)) for line in answers.read_text().splitlines())
    of_curl = recorded().of("curl")
    found = rows(checked(of_curl))
    assert found == told
    assert sorted(f"{status} {size}" for *_, status, size in found) == sorted(got)
    names = [f"curl-{name}{v.replace('--', '-')}" for name in programs for v in VERSIONS]
    first = {number: place for place, number in enumerate(dict.fromkeys(p[0] for p in of_curl[0]))}
    for place, name in enumerate(names):
        mine = [p for p in of_curl.pieces if first[p[0]] // 3 == place]
        keep(name, Recording(mine, {}))


async def _ask(url: str, version: str) -> list[str]:
    """Over three connections; status and size of each answer."""
    asking = ["curl", "-sk", version, "-w", r"%{response_code} %{size_download}\n"]
    got = await run(*asking, *[a for path in ASKED for a in ("-o", "/dev/null", url + path)])
    got += await run(*asking, "-I", "-o", "/dev/null", f"{url}/head")
    got += await run(*asking, "-d", "a=1", "-o", "/dev/null", f"{url}/post")
    return got.splitlines()


async def test_h2load_and_nghttpd(tmp_path):
    (tmp_path / "file").write_bytes(b"nghttp2 " * 700)
    port = proxies.free_port()
    with proxies.proxy(tmp_path) as server:
        command = ["nghttpd", "-d", tmp_path, str(port), server.key, server.certificate]
        with listening(command, port):
            async with recording(tmp_path) as recorded:
                url = f"https://127.0.0.1:{port}/file"
                out = await run("h2load", "-n60", "-c3", "-m10", url)
    assert "60 succeeded" in out
    told = int(re.findall(r"\((\d+)\) data", out)[0])
    for process in ("h2load", "nghttpd"):
        exchanges = checked(recorded().of(process))
        assert len(exchanges) == 60, process
        assert {(e.method, e.path, e.status) for e in exchanges} == {("GET", "/file", 200)}
        assert sum(e.received or 0 for e in exchanges) == told == 60 * 5600
    served = recorded().of("nghttpd")
    keep("h2load-nghttpd", served.connection(min(p[0] for p in served.pieces)))


@pytest.mark.parametrize("largest", [5_000_000, 20_000])
async def test_websockets_of_python(tmp_path, largest):
    """The library on both ends: compressed, large, in fragments, closed with a code."""
    with proxies.proxy(tmp_path) as server:
        async with recording(tmp_path) as recorded:
            out = await run(
                sys.executable, APPS / "websocket_pair.py", server.certificate, server.key,
                str(largest),
            )  # fmt: skip
    told = [tuple(json.loads(line)) for line in out.splitlines()]
    found = recorded()
    assert len(found.processes) == 2
    for number in found.processes:
        mine = found.connection(number)
        whole = story(replay(mine))
        source = random.Random(2)
        assert story(replay(mine, lambda s=source: s.randint(1, 4000))) == whole
        said = [(s.sender, s.kind, s.size) for s in whole.said if s.kind != "close"]
        assert sorted(said) == sorted(told)
        assert [e.status for e in whole.exchanges] == [None]
        assert len([s for s in whole.said if s.kind == "close"]) == 2
    if largest < 100_000:
        keep("websockets-python", found.connection(1))


@pytest.mark.parametrize("http2", [False, True])
async def test_hypercorn_and_httpx(tmp_path, http2):
    with proxies.proxy(tmp_path) as server:
        async with recording(tmp_path) as recorded:
            out = await run(
                sys.executable, APPS / "asgi_pair.py", server.certificate, server.key,
                "2" if http2 else "1.1",
            )  # fmt: skip
    told = sorted(tuple(json.loads(line)) for line in out.splitlines())
    found = recorded()
    for process in {name for name in found.processes.values() if "nginx" not in name}:
        exchanges = checked(found.of(process))
        assert exchanges
    everything = rows(checked(found))
    assert everything == sorted(told * 2)
    keep(f"httpx-hypercorn-http{2 if http2 else 1.1}", found.connection(1))


async def test_grpc_of_go_through_nginx(tmp_path):
    """What is looked at is nginx's, to the client and to the server."""
    program = go_programs.build(APPS / "grpc_peer")
    backend = proxies.free_port()
    more = f"location /shop.Cart/ {{ grpc_pass grpcs://127.0.0.1:{backend}; }}"
    with proxies.proxy(tmp_path, more) as server:
        arguments = ["serve", server.certificate, server.key, str(backend)]
        with listening([program, *arguments], backend):
            async with recording(tmp_path) as recorded:
                out = await run(program, "call", f"127.0.0.1:{server.port}")
    told = [json.loads(line) for line in out.splitlines()]
    found = recorded().of("nginx")
    first = min(p[0] for p in found.pieces)
    downstream = {p[0] for p in found.pieces if p[0] == first}
    for side in (downstream, {p[0] for p in found.pieces} - downstream):
        mine = Recording([p for p in found.pieces if p[0] in side], {})
        checked(mine)
        whole = story(replay(mine))
        assert sorted(e.path for e in whole.exchanges) == sorted(row[0] for row in told)
        counts = [sum(1 for at, _ in whole.messages if at == s) for s in ("request", "response")]
        assert counts == [sum(row[1] for row in told), sum(row[2] for row in told)]
        assert sorted(map(int, whole.statuses)) == sorted(row[3] for row in told)
    keep("grpc-go-nginx", found.connection(first))
