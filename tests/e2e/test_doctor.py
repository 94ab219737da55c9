"""`plainwire doctor` on this very machine. What it says about others is in its unit test."""

from __future__ import annotations

import json

from tests.support import command
from tests.support.command import plainwire


def test_this_machine_can_capture() -> None:
    with command.nothing_left():
        ended = plainwire("doctor")
    assert ended.returncode == 0, ended.stdout
    assert all(line.startswith(("ok ", "warn ")) for line in ended.stdout.splitlines())


def test_json_has_an_object_a_line() -> None:
    findings = [json.loads(line) for line in plainwire("doctor", "--json").stdout.splitlines()]
    assert {"kernel", "bcc", "nats-server"} <= {finding["subject"] for finding in findings}


def test_settings_that_nobody_knows_are_found() -> None:
    ended = plainwire("doctor", PLAINWIRE_CAPTURE_RINGMIB="1")
    assert ended.returncode == 1
    assert "did you mean PLAINWIRE_CAPTURE_RING_MIB" in ended.stdout


def test_missing_headers_and_server_are_named_with_their_mend() -> None:
    ended = plainwire("doctor", BCC_KERNEL_SOURCE="/no/such/tree")
    assert ended.returncode == 1
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("fail")]
    assert "mend: apt-get install linux-headers-amd64" in line
