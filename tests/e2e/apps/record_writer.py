"""Sends bytes that look like TLS records, and are none: over TCP (`tcp`), or into a file, a pipe and
a local socket (`elsewhere`). 23 of them, then one for each line on stdin. Says `done` as others do.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile

RECORD = bytes.fromhex("1703030020") + bytes(range(32))
HELLO = bytes.fromhex("160301002c0100002803 03".replace(" ", "")) + bytes(38)


def over_tcp() -> list[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listener.getsockname())
    kept.extend((listener, sender, listener.accept()[0]))
    return [sender.fileno()]


def elsewhere() -> list[int]:
    reader, writer = os.pipe()
    one, other = socket.socketpair()
    file = tempfile.TemporaryFile()
    kept.extend((reader, one, other, file))
    return [writer, one.fileno(), file.fileno()]


kept: list[object] = []
descriptors = over_tcp() if sys.argv[1] == "tcp" else elsewhere()
for number in range(23):
    for descriptor in descriptors:
        os.write(descriptor, RECORD if number else HELLO)
print("done", flush=True)
for _ in sys.stdin:
    for descriptor in descriptors:
        os.write(descriptor, RECORD)
    print("done", flush=True)
