"""SSE, WebSocket and gRPC that live for longer than a part, through `plainwire run --json`: parts
while they live, which join to what both ends say that they sent. Short exchanges: test_run.py."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import NamedTuple

import msgspec
import pytest

from demo import certificate
from services.messages import Message, Witness
from tests.support import leftovers
from tests.support.command import plainwire

SECONDS = 12  # two parts of five seconds, and the rest
SECRET = "hunter2"
ROLES = ["client", "server"]


class Ran(NamedTuple):
    sent: dict[str, list]
    witnesses: list[Witness]
    ended: subprocess.CompletedProcess[str]

    def parts(self, path: str, role: str) -> list[Witness]:
        """Of the one exchange of this path, as they came."""
        of_path = [w for w in self.witnesses if w.request and w.request.path == path]
        found = [w for w in of_path if w.role == role]
        assert len({w.id for w in found}) == 1
        assert [w.part for w in found] == list(range(1, len(found) + 1))
        return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("streams")
    certificate.make(folder)
    app = [sys.executable, "-m", "tests.e2e.apps.streams", folder, SECONDS]
    with leftovers.none_left("streams"):
        ended = plainwire("run", "--json", "--", *app)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    sent = next(line for line in ended.stderr.splitlines() if line.startswith('{"events"'))
    return Ran(json.loads(sent), [msgspec.json.decode(x, type=Witness) for x in lines], ended)


def _living(parts: list[Witness]) -> None:
    assert len(parts) >= 3
    assert {(w.state, w.final) for w in parts[:-1]} == {("open", False)}
    assert (parts[-1].state, parts[-1].final) == ("complete", True)
    assert all(w.request and w.request.headers and w.response for w in parts)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("path", ["/events", "/events?gzip"])
def test_events_come_while_they_are_sent(ran: Ran, path: str, role: str) -> None:
    parts = ran.parts(path, role)
    _living(parts)
    bodies = [w.response.body for w in parts if w.response]
    assert "".join(b.text or "" for b in bodies) == "".join(ran.sent["events"]).replace(
        SECRET, "*REDACTED*"
    )
    offset = 0
    for body in bodies:
        assert (body.offset, body.truncated) == (offset, False)
        offset += body.size or 0
    assert all(w.redacted.count for w in parts)


def _talk(messages: list[Message]) -> list[list[str]]:
    return [[m.sender, m.text or ""] for m in messages if m.type == "text"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("compress", [0, 15])
def test_a_websocket_is_told_while_it_talks(ran: Ran, compress: int, role: str) -> None:
    parts = ran.parts(f"/chat?compress={compress}", role)
    _living(parts)
    assert {w.response.status for w in parts if w.response} == {101}
    messages = [m for w in parts if w.websocket for m in w.websocket.messages]
    expected = [[who, text.replace(SECRET, "*REDACTED*")] for who, text in ran.sent["talk"]]
    assert _talk(messages) == expected
    assert {m.decoded for m in messages if m.type == "text"} == {compress > 0}
    last = parts[-1].websocket
    assert last is not None
    assert (last.close_code, last.close_reason) == (4000, "enough")
    assert messages[-1].type == "close"


@pytest.mark.parametrize("role", ROLES)
def test_a_streaming_call_is_told_while_it_lives(ran: Ran, role: str) -> None:
    parts = ran.parts("/shop.Cart/Watch", role)
    _living(parts)
    calls = [w.grpc for w in parts if w.grpc]
    assert {(c.service, c.method) for c in calls} == {("shop.Cart", "Watch")}
    assert [c.status for c in calls] == [None] * (len(calls) - 1) + [0]
    messages = [m for c in calls for m in c.messages]
    assert [base64.b64decode(m.base64 or "").hex() for m in messages] == [
        b"\x0a\x05apple".hex(),
        *ran.sent["messages"],
    ]
    assert [m.sender for m in messages] == ["client"] + ["server"] * (len(messages) - 1)


@pytest.mark.parametrize("role", ROLES)
def test_a_single_call_is_one_part_with_its_message_undone(ran: Ran, role: str) -> None:
    (witness,) = ran.parts("/shop.Cart/Add", role)
    call = witness.grpc
    assert call is not None
    assert (witness.state, witness.final) == ("complete", True)
    assert (call.status, call.message) == (5, "no such item")
    asked, answered = call.messages
    assert (asked.encoding, answered.encoding, answered.decoded) == (None, "gzip", True)
    assert base64.b64decode(answered.base64 or "") == b"\x08\x00"


def test_no_secret_is_shown_and_no_byte_is_lost(ran: Ran) -> None:
    assert SECRET not in ran.ended.stdout
    assert "12 witnesses, " in ran.ended.stderr
    assert ", 0 lost" in ran.ended.stderr
