"""`plainwire run` has the first byte of TLS that is not libssl's: GnuTLS, which the system has, and
OpenSSL that is linked into the command itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import git_repository, leftovers, programs, workload
from tests.support.command import plainwire


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    with leftovers.none_left(request.node.name):
        yield


def clients(stdout: str) -> list[dict[str, Any]]:
    found = [witness for line in stdout.splitlines() if (witness := json.loads(line))]
    return [witness for witness in found if witness["role"] == "client"]


def check_whole(witness: dict[str, Any], tls: str) -> None:
    assert witness["state"] == "complete"
    assert witness["source"]["tls"].startswith(tls)
    assert not witness["connection"].get("mid_connection")


def test_wget_is_captured_from_its_first_byte(tmp_path: Path) -> None:
    with workload.serving(tmp_path) as server:
        url = f"{server.url}/hello/wget"
        words = ["wget", "-q", "--no-proxy", "--no-check-certificate", "-O", tmp_path / "got", url]
        ended = plainwire("run", "--json", "--", *words)
    (witness,) = clients(ended.stdout)
    assert (witness["request"]["method"], witness["request"]["path"]) == ("GET", "/hello/wget")
    assert witness["response"]["body"]["text"] == (tmp_path / "got").read_text()
    check_whole(witness, "gnutls 3.")
    assert ", 0 lost" in ended.stderr


def test_git_is_captured_from_its_first_byte(tmp_path: Path) -> None:
    with git_repository.serving(tmp_path) as server:
        words = ["-c", "http.sslVerify=false", "-c", "http.proxy=", "clone", "--quiet"]
        ended = plainwire("run", "--json", "--", "git", *words, server.url, tmp_path / "clone")
        truth = server.exchanged()
    assert (tmp_path / "clone" / "6.txt").exists()
    witnesses = clients(ended.stdout)
    assert [(w["request"]["method"], w["request"]["path"]) for w in witnesses] == [
        (exchanged.method, exchanged.target) for exchanged in truth
    ]
    assert {w["source"]["process"] for w in witnesses} == {"git-remote-http"}
    for witness in witnesses:
        check_whole(witness, "gnutls 3.")


def test_a_command_with_tls_of_its_own_is_captured_from_its_first_byte(tmp_path: Path) -> None:
    node = programs.node("https")
    script = "fetch(process.argv[1]).then(answer => answer.text()).then(console.log)"
    with workload.serving(tmp_path) as server:
        words = [node.command[0], "-e", script, f"{server.url}/hello/node"]
        ended = plainwire("run", "--json", "--", *words, NODE_TLS_REJECT_UNAUTHORIZED="0")
    (witness,) = clients(ended.stdout)
    assert witness["request"]["path"] == "/hello/node"
    assert witness["source"]["tls"].endswith("(static)")
    check_whole(witness, "openssl ")
