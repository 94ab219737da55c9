"""A TLS server for tests that keeps what really went over each connection, byte for byte.

It reads a line `<bytes to come> <bytes to answer>` and that many bytes, answers, and goes on. Also
a program for clients: what it sends and gets comes from its arguments.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from demo import certificate

# Sends each `<sent>:<answered>` of argv[2:]; after each line on stdin one more of the same.
SECONDS = 20
CLIENT = """
import os, ssl, socket, sys
context = ssl._create_unverified_context()
plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
tls = context.wrap_socket(plain)
def exchange(sent, answered):
    tls.sendall(b"%d %d\\n" % (sent, answered))
    if sent:
        tls.sendall((b"client-" * (sent // 7 + 1))[:sent])
    left = answered
    while left:
        left -= len(tls.recv(min(left, 65536)))
for spec in sys.argv[2:]:
    exchange(*map(int, spec.split(":")))
print("done", flush=True)
for line in sys.stdin:
    exchange(*map(int, line.split(":")))
    print("done", flush=True)
tls.close()
"""


@dataclass
class Conversation:
    received: bytearray = field(default_factory=bytearray)
    sent: bytearray = field(default_factory=bytearray)


@dataclass
class Peer:
    port: int
    conversations: list[Conversation] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def settle(self) -> None:
        """Every client has ended; so has the server's end of each connection when this returns."""
        for thread in self.threads:
            thread.join(SECONDS)
            assert not thread.is_alive()

    @contextmanager
    def client(self, *exchanges: str, program: str = sys.executable) -> Iterator[Client]:
        """Connects, and makes these exchanges at once; `Client.ask` makes more."""
        with subprocess.Popen(
            [program, "-c", CLIENT, str(self.port), *exchanges],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            client = Client(process)
            client.answered()
            yield client
            client.finish()


class Client:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.pid = process, process.pid

    def answered(self) -> None:
        """Waits until it has had its answers."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "done\n"

    def ask(self, exchange: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{exchange}\n")
        self.process.stdin.flush()
        self.answered()

    def finish(self) -> None:
        """Its stdin ends, and so does it."""
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait(SECONDS)


@contextmanager
def peer(folder: Path) -> Iterator[Peer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate.make(folder))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Peer(listener.getsockname()[1])
        thread = threading.Thread(target=_accept, args=(listener, context, found), daemon=True)
        thread.start()
        yield found
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(SECONDS)
        found.settle()


def _accept(listener: socket.socket, context: ssl.SSLContext, peer: Peer) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            break
        kept = Conversation()
        peer.conversations.append(kept)
        thread = threading.Thread(target=_converse, args=(plain, context, kept), daemon=True)
        thread.start()
        peer.threads.append(thread)


def _converse(plain: socket.socket, context: ssl.SSLContext, kept: Conversation) -> None:
    try:
        with context.wrap_socket(plain, server_side=True) as tls, tls.makefile("rb") as stream:
            while exchange := _line(stream, kept):
                to_come, to_answer = exchange
                kept.received += stream.read(to_come)
                answer = (b"server-" * (to_answer // 7 + 1))[:to_answer]
                tls.sendall(answer)
                kept.sent += answer
    except OSError:
        pass  # the client was killed


def _line(stream: IO[bytes], kept: Conversation) -> tuple[int, int] | None:
    line = stream.readline()
    kept.received += line
    numbers = line.split()
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None
