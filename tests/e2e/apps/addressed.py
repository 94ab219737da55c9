"""Clients and servers that write down both ends of the connection that each request took.

python -m tests.e2e.apps.addressed serve LOG CERTIFICATE KEY
python -m tests.e2e.apps.addressed ROLE LOG ID PORT...

A line of a log is `ID LOCAL PEER`, as getsockname and getpeername say. The server prints its ports:
five for TLS, one for TLS over IPv6, one without TLS.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
import threading
from pathlib import Path

TLS_PORTS, REQUESTS = 5, 3
MANY, PLAIN = 50, 10  # connections of asyncio, with TLS and without
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def shown(name: tuple[str, int]) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Log:
    def __init__(self, path: str) -> None:
        self._path = path

    def write(self, request: str, local: tuple[str, int], peer: tuple[str, int]) -> None:
        with open(self._path, "a") as log:
            log.write(f"{request} {shown(local)} {shown(peer)}\n")

    def of(self, request: str, connected: socket.socket) -> None:
        self.write(request, connected.getsockname(), connected.getpeername())


def asked(request: str, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: a.test\r\nx-request-id: {request}\r\n\r\n".encode()


def receive_head(connected: socket.socket, more: int = 0) -> bytes:
    """Up to the empty line, and so many bytes behind it."""
    data = b""
    while b"\r\n\r\n" not in data or len(data) - data.index(b"\r\n\r\n") - 4 < more:
        piece = connected.recv(4096)
        if not piece:
            return b""
        data += piece
    return data


def ask(connected: socket.socket, request: str, path: str = "/") -> None:
    connected.sendall(asked(request, path))
    assert receive_head(connected, 2).endswith(b"ok")


def client_context() -> ssl.SSLContext:
    return ssl._create_unverified_context()


def connect(port: int, host: str = "127.0.0.1") -> ssl.SSLSocket:
    return client_context().wrap_socket(socket.create_connection((host, port)))


# --- the server -----------------------------------------------------------------------------------


def serve(log: str, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(TLS_PORTS)]
    listeners.append(socket.create_server(("::1", 0), family=socket.AF_INET6))
    plain = socket.create_server(("127.0.0.1", 0))
    for listener in listeners:
        threading.Thread(target=accept, args=(listener, context, Log(log)), daemon=True).start()
    threading.Thread(target=accept, args=(plain, None, Log(log)), daemon=True).start()
    say(*(one.getsockname()[1] for one in [*listeners, plain]))
    sys.stdin.read()


def accept(listener: socket.socket, context: ssl.SSLContext | None, log: Log) -> None:
    while True:
        connected, _ = listener.accept()
        threading.Thread(target=answer, args=(connected, context, log), daemon=True).start()


def answer(connected: socket.socket, context: ssl.SSLContext | None, log: Log) -> None:
    try:
        if context is not None:
            connected = context.wrap_socket(connected, server_side=True)
        while head := receive_head(connected).decode():
            path, request = head.split()[1], head.split("x-request-id: ")[1].split()[0]
            log.of(request, connected)
            if path.startswith("/relay"):
                relay(path, request, log)
            connected.sendall(OK)
    except OSError:
        return


def relay(path: str, request: str, log: Log) -> None:
    """Asks others on this very thread, with and without TLS, in turns."""
    _, _, tls_port, plain_port = path.split("/")
    with socket.create_connection(("127.0.0.1", int(plain_port))) as plain:
        ask(plain, f"{request}-plain")
        plain.sendall(asked(f"{request}-plain"))
        with connect(int(tls_port)) as outward:
            ask(outward, f"{request}-out")
            assert receive_head(plain, 2)
            log.of(f"{request}-out", outward)


# --- clients --------------------------------------------------------------------------------------


def sync(log: Log, name: str, ports: list[int]) -> None:
    for n, port in enumerate(ports):
        with connect(port, "::1" if n == TLS_PORTS else "127.0.0.1") as connected:
            for k in range(REQUESTS):
                log.of(f"{name}-{n}-{k}", connected)
                ask(connected, f"{name}-{n}-{k}")


def relayed(log: Log, name: str, ports: list[int]) -> None:
    with connect(ports[0]) as connected:
        for k in range(REQUESTS):
            log.of(f"{name}-{k}", connected)
            ask(connected, f"{name}-{k}", f"/relay/{ports[1]}/{ports[2]}")


def many(log: Log, name: str, ports: list[int]) -> None:
    """Fifty connections to the five servers, and some without TLS, all on one thread."""

    start, waiting = asyncio.Event(), asyncio.Semaphore(0)

    async def one(n: int) -> None:
        context = client_context() if n < MANY else None
        port = ports[n % TLS_PORTS] if n < MANY else ports[TLS_PORTS]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        waiting.release()
        await start.wait()
        for k in range(REQUESTS):
            local, peer = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
            log.write(f"{name}-{n}-{k}", local, peer)
            writer.write(asked(f"{name}-{n}-{k}"))
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
        writer.close()

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as tasks:
            for n in range(MANY + PLAIN):
                tasks.create_task(one(n))
            for _ in range(MANY + PLAIN):
                await waiting.acquire()
            if name.startswith("early"):
                say("ready")
                await asyncio.to_thread(sys.stdin.readline)
            start.set()

    asyncio.run(all_of_them())


def early(log: Log, name: str, ports: list[int]) -> None:
    """Connected and shaken hands; asks when it is told to."""
    open_ones = [connect(port) for port in ports]
    say("ready")
    sys.stdin.readline()
    for n, connected in enumerate(open_ones):
        for k in range(REQUESTS):
            log.of(f"{name}-{n}-{k}", connected)
            ask(connected, f"{name}-{n}-{k}")


def replaced(log: Log, name: str, ports: list[int]) -> None:
    """The descriptor that TLS was given is another socket's before the handshake."""
    first, second = (socket.create_connection(("127.0.0.1", port)) for port in ports)
    context = client_context()
    connected = context.wrap_socket(first, do_handshake_on_connect=False)
    os.dup2(second.fileno(), connected.fileno())
    second.close()
    connected.do_handshake()
    for k in range(REQUESTS):
        log.of(f"{name}-{k}", connected)
        ask(connected, f"{name}-{k}")


def called_back(log: Log, name: str, ports: list[int]) -> None:
    """Within TLS's own calls a callback talks to others, at first with TLS, too."""
    context, plain = client_context(), socket.create_connection(("127.0.0.1", ports[2]))
    asking: list[str] = []

    def callback(*_: object) -> None:
        if not asking:
            return
        request = asking.pop()
        ask(plain, f"{name}-plain")
        if request.endswith("-0"):
            with connect(ports[1]) as inner:
                log.of(f"{request}-inner", inner)
                ask(inner, f"{request}-inner")

    context._msg_callback = callback  # type: ignore[attr-defined]
    with context.wrap_socket(socket.create_connection(("127.0.0.1", ports[0]))) as connected:
        for k in range(REQUESTS):
            log.of(f"{name}-{k}", connected)
            asking.append(f"{name}-{k}")
            ask(connected, f"{name}-{k}")
            assert not asking


def local(log: Log, name: str, ports: list[int]) -> None:
    """Over a pair of sockets that have no addresses, beside a TCP connection without TLS."""
    certificate, key = (Path(os.environ[word]) for word in ("CERTIFICATE", "KEY"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    here, there = socket.socketpair()
    thread = threading.Thread(target=answer_locally, args=(there, context, name))
    thread.start()
    with (
        socket.create_connection(("127.0.0.1", ports[0])) as plain,
        client_context().wrap_socket(here) as connected,
    ):
        for k in range(REQUESTS):
            ask(plain, f"{name}-plain")
            ask(connected, f"{name}-{k}")
    thread.join()


def answer_locally(there: socket.socket, context: ssl.SSLContext, name: str) -> None:
    with context.wrap_socket(there, server_side=True) as connected:
        while receive_head(connected):
            connected.sendall(OK)


ROLES = {
    "sync": sync, "relayed": relayed, "many": many, "early": early, "replaced": replaced,
    "local": local, "called_back": called_back,
}  # fmt: skip

if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        ROLES[sys.argv[1]](Log(sys.argv[2]), sys.argv[3], list(map(int, sys.argv[4:])))
