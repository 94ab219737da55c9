"""Sends bytes that look like TLS records, and are none: over TCP (`tcp`), or into a file, a pipe
and a local socket (`elsewhere`); or what looks like a QUIC handshake over UDP (`quic`). 23 of them,
then one for each line on stdin. Says `done` as others do.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from typing import IO

RECORD = bytes.fromhex("1703030020") + bytes(range(32))
HELLO = bytes.fromhex("160301002c010000280303") + bytes(38)
INITIAL = bytes.fromhex("c300000001") + bytes([8]) + bytes(1194)


def over_tcp() -> list[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listener.getsockname())
    kept.extend((listener, sender, listener.accept()[0]))
    return [sender.fileno()]


def kept_file() -> IO[bytes]:
    return tempfile.TemporaryFile()


def elsewhere() -> list[int]:
    reader, writer = os.pipe()
    one, other = socket.socketpair()
    file = kept_file()
    kept.extend((reader, one, other, file))
    return [writer, one.fileno(), file.fileno()]


def over_udp() -> list[int]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(INITIAL, listener.getsockname())
    kept.extend((listener, sender))
    return []


kept: list[object] = []
descriptors = {"tcp": over_tcp, "elsewhere": elsewhere, "quic": over_udp}[sys.argv[1]]()
for number in range(23):
    for descriptor in descriptors:
        os.write(descriptor, RECORD if number else HELLO)
print("done", flush=True)
for _ in sys.stdin:
    for descriptor in descriptors:
        os.write(descriptor, RECORD)
    print("done", flush=True)
