"""Lines for people: hostile bytes escaped, secrets in URLs masked. Not: where lines are written."""

from __future__ import annotations

import json
from datetime import UTC

import pytest

from services.cli import rendering
from services.messages import (
    Body,
    Coverage,
    CoverageEntry,
    Gap,
    Grpc,
    Message,
    Response,
    Role,
    Source,
    WebSocket,
    Witness,
    WitnessConnection,
)
from tests.support import witnesses
from tests.support.witnesses import EMPTY, request


def witness(**changes: object) -> Witness:
    posted = request(
        method="POST",
        authority="api.example.com",
        path="/v1/items?x=1&token",
        body=Body(size=17, captured=17, truncated=False),
    )
    created = Response(status=201, headers=(), trailers=(), body=EMPTY)
    return witnesses.witness(**{"request": posted, "response": created, **changes})


def test_a_witness_is_one_line_with_masked_query_values() -> None:
    assert rendering.witness_line(witness(), UTC) == (
        "10:00:00.123 curl[42] -> http/1.1 POST https://api.example.com/v1/items?x=***&*** "
        "201 17 B / 0 B 8.0 ms"
    )


def test_a_line_ends_with_the_other_end_s_address_where_it_is_proven() -> None:
    connection = WitnessConnection(id="1", stream=1, local="10.0.0.7:1", peer="10.0.0.9:443")
    asked = rendering.witness_line(witness(connection=connection), UTC)
    assert asked.endswith("8.0 ms to 10.0.0.9:443")
    served = rendering.witness_line(witness(connection=connection, role="server"), UTC)
    assert served.endswith("8.0 ms from 10.0.0.9:443")


def test_what_is_not_whole_is_said() -> None:
    gap = Gap(part="response.body", offset=3, bytes=7, reason="ring_full")
    line = rendering.witness_line(
        witness(state="partial", gaps=(gap,), response=None, role="server"), UTC
    )
    assert " <- " in line
    assert line.endswith("- 17 B / - 8.0 ms partial [7 B missing in response.body: ring_full]")


def test_a_part_is_a_line_that_says_which() -> None:
    first = rendering.witness_line(witness(state="open", final=False), UTC)
    assert first.endswith("17 B / 0 B 8.0 ms open part 1")
    assert rendering.witness_line(witness(part=3), UTC).endswith("8.0 ms part 3, the last")


def message(sender: Role) -> Message:
    return Message(sender=sender, time="", type="text", size=2, captured=2, text="\x1b[2J")


@pytest.mark.parametrize(
    ("status", "told"),
    [(0, "OK "), (5, "NOT_FOUND "), (99, "status 99 "), (None, "")],
)
def test_a_call_says_its_status_and_how_many_messages(status: int | None, told: str) -> None:
    grpc = Grpc(
        service="a", method="B", status=status, message="\x1b[2J",
        messages=(message("client"), message("server"), message("server")),
    )  # fmt: skip
    line = rendering.witness_line(witness(grpc=grpc), UTC)
    assert line.endswith(f"8.0 ms grpc {told}1 / 2 messages")
    assert line.isprintable()


def test_a_websocket_says_how_many_messages_and_how_it_closed() -> None:
    websocket = WebSocket(messages=(message("client"),), close_code=1001, close_reason="\x1b[2J")
    line = rendering.witness_line(witness(websocket=websocket, anomalies=("lone \x1b",)), UTC)
    assert line.endswith("websocket 1 / 0 messages close 1001 [lone \\x1b]")
    assert line.isprintable()


def test_a_witness_without_request_is_a_line_too() -> None:
    line = rendering.witness_line(witness(state="no_request", request=None), UTC)
    assert "(method unknown) (request not seen) 201 - / 0 B" in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü", "plain ü"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb", "a\\x0d\\x0ab"),
        ("\x9b31m", "\\x9b31m"),
        ("safe\u202egnp", "safe\\u202egnp"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff", "\\udcff"),
    ],
    ids=["printable", "escape", "newline", "c1", "bidi", "tag", "surrogate"],
)
def test_what_steers_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert rendering.escape(text) == shown


def test_a_hostile_witness_stays_one_printable_line() -> None:
    hostile = "\x1b]0;x\x07\n\u2028\u202e"
    source = Source(node="n", namespace="host", workload=hostile, pid=1, process=hostile)
    asked = request(method=hostile, path=f"/{hostile}?{hostile}=1", authority=hostile)
    line = rendering.witness_line(witness(source=source, request=asked, protocol=hostile), UTC)
    assert line.isprintable()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/", "https://h/"),
        ("/a?key=secret", "https://h/a?key=***"),
        ("/a?k=v;q=w&z", "https://h/a?k=***;q=***&***"),
        ("/a?k=a=b", "https://h/a?k=***"),
        ("/a?", "https://h/a?"),
        ("http://user:pass@other/x?y=z", "http://***@other/x?y=***"),
        ("proxy.example:443", "proxy.example:443"),
        ("*", "https://h*"),
        (None, "https://h/(path unknown)"),
    ],
)
def test_targets_show_where_but_no_values(path: str | None, shown: str) -> None:
    assert rendering.target("h", path, "https") == shown


def test_user_information_in_the_authority_is_masked() -> None:
    assert rendering.target("u:p@h", "/", "https") == "https://***@h/"


def test_a_long_target_is_cut_and_says_so() -> None:
    assert rendering.target("h", "/" + "a" * 1000, "https").endswith("...(1010 characters)")


def test_json_keeps_its_value_but_loses_what_steers_a_terminal() -> None:
    payload = json.dumps({"x": "\x9b \x7f \u202e é"}, ensure_ascii=False).encode()
    shown = rendering.safe_json(payload)
    assert json.loads(shown) == json.loads(payload)
    assert shown.decode().isprintable()
    assert "é" in shown.decode()


def test_times_that_are_none_leave_their_place() -> None:
    assert rendering.clock(None) == "--:--:--.---"
    assert rendering.clock("2026-01-12T10:00:00Z", UTC) == "10:00:00.000"


def test_coverage_names_the_uncaptured_with_the_reason() -> None:
    coverage = Coverage(
        node="n",
        time_ns=0,
        epoch=1,
        attached=(),
        processes=(
            CoverageEntry(pid=2, process="b", state="not_captured", reason="no symbols"),
            CoverageEntry(pid=1, process="a", state="captured", library="openssl 3", file="/l"),
        ),
        failed=(("/lib/x", "refused\x1b"),),
    )
    assert list(rendering.coverage_lines(coverage)) == [
        "n a[1] captured openssl 3 /l",
        "n b[2] not_captured: no symbols",
        "n /lib/x not probed: refused\\x1b",
    ]


def test_a_node_without_tls_says_what_is_probed() -> None:
    coverage = Coverage(node="n", time_ns=0, epoch=1, attached=(), processes=())
    assert list(rendering.coverage_lines(coverage)) == ["n probes on no file; no process uses TLS"]
