"""The canary: a TLS connection of this process with itself, in memory, whose bytes must come out of
the rings. Nothing of it is in any sum.

Anonymous key exchange, so that it needs no certificate: nobody else ever hears it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from services.messages import FileIdentity

_CIPHERS = "aNULL:@SECLEVEL=0"
_NUMBER = 8
_ROUNDS = 8


class Canary:
    """`sing` as often as it is to be heard; `hear` is given what the rings held of it."""

    def __init__(self) -> None:
        self._marker = os.urandom(16)
        self._client, self._server = _connected()
        self._library = _library()
        self.sent = 0
        self.seen = 0

    def sing(self) -> None:
        self.sent += 1
        self._client.write(self._marker + self.sent.to_bytes(_NUMBER, "little"))
        self._server.read(1024)

    def hear(self, payloads: Iterable[bytes]) -> None:
        for payload in payloads:
            if payload.startswith(self._marker):
                self.seen = max(self.seen, int.from_bytes(payload[-_NUMBER:], "little"))

    def is_visible(self, probed: Iterable[FileIdentity]) -> bool:
        """The library that it uses is among those that are probed. Devices are not compared:
        below overlayfs they differ from what is mapped."""
        return self._library in {(one.inode, one.size, one.mtime_ns) for one in probed}


def _connected() -> tuple[ssl.SSLObject, ssl.SSLObject]:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _context(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(to_client, to_server)
    server = _context(ssl.PROTOCOL_TLS_SERVER).wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        if all([_has_shaken_hands(client), _has_shaken_hands(server)]):
            break
    return client, server


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    return context


def _has_shaken_hands(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _library() -> tuple[int, int, int]:
    """Inode, size and time of the libssl that this process has mapped."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and "/libssl" in words[5]:
            try:
                found = os.stat(words[5])
            except OSError:
                break
            return found.st_ino, found.st_size, found.st_mtime_ns
    return 0, 0, 0
