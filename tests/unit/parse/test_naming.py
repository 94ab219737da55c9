"""Beginnings of protocols that are none of ours: named where proven, and split anywhere."""

from __future__ import annotations

import pytest

from services.messages import OpaqueFrame
from services.parse.naming import Naming, name
from tests.support.wire import EGRESS, INGRESS, deliver

MYSQL = (
    bytes((0x54, 0, 0, 2)) + (0x01FFAA8F | 0x800).to_bytes(4, "little") + bytes((0, 0, 0, 1, 45))
    + bytes(23) + b"root\0"
)  # fmt: skip
BEGINNINGS = {
    "postgres": bytes((0, 0, 0, 0x54)) + b"\0\3\0\0user\0app\0database\0shop\0\0",
    "mysql": MYSQL,
    "redis": b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
    "mongodb": bytes((90, 0, 0, 0, 9, 0, 0, 0)) + bytes(4) + b"\xdd\7\0\0" + b"x" * 74,
    "mqtt": b"\x10\x1b\0\4MQTT\5\2\0\x3c",
    "amqp": b"AMQP\0\0\x09\x01",
    "ldap": b"0\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0",
    "imap": b"* OK IMAP4rev1 ready\r\n",
    "smtp": b"220 mail.example.com ESMTP Postfix\r\n",
    "ftp": b"220 (vsFTPd 3.0.3) FTP\r\n",
    "tls": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
}  # fmt: skip


@pytest.mark.parametrize("protocol", BEGINNINGS)
def test_a_protocol_is_named_however_its_beginning_is_cut(protocol):
    frames = deliver([(EGRESS, BEGINNINGS[protocol]), (INGRESS, b"anything else")])
    assert {f.protocol for f in frames if isinstance(f, OpaqueFrame)} == {protocol}


@pytest.mark.parametrize(
    "data",
    [b"\0" * 64, b"\xff" * 64, b"220 hello\r\n", b"hello\r\n", b"\x16\x03\x09" + b"\xff" * 40],
)
def test_what_is_not_proven_is_not_named(data):
    assert name(data) is Naming.UNKNOWN


def test_any_prefix_of_a_beginning_waits_or_tells():
    for protocol, data in BEGINNINGS.items():
        for stop in range(1, len(data)):
            assert name(data[:stop]) in (Naming.MORE, protocol)
