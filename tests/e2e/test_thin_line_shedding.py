"""A connection that is given up in the middle of an exchange: through parse and collect its witness
says so. Which connections are shed their ids say, so the outcome is held against the ledger."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from demo import certificate
from tests.support import leftovers, pipeline
from tests.support.pipeline import Pipeline

UPLOADS = 4
PIECE = bytes(32 << 10)
SIZE = 1 << 40  # of a body that has no end here
SECONDS = 30


def test_an_exchange_is_partial_where_its_connection_is_shed_within_it(tmp_path: Path) -> None:
    line_folder = tmp_path / "line"
    settings = {"PLAINWIRE_CAPTURE_SHED": "true", "PLAINWIRE_CAPTURE_BUDGET_MIB": "1"}
    with leftovers.none_left("shed"), pipeline.running(line_folder, **settings) as line:
        with uploading(tmp_path):
            until_shed(line)
        line.settle()
        ledger, exchanges = line.ledger("parse").bytes, line.ledger("collect").exchanges
        assert ledger is not None
        assert ledger.shed > 0
        assert (ledger.gaps, ledger.in_flight) == ({}, 0)
        found = [stored.witness for stored in line.witnesses("upload")]
        final = [witness for witness in found if witness.final]
        shed = [w for w in final if any(gap.reason == "shed" for gap in w.gaps)]
        assert shed
        assert {witness.state for witness in shed} == {"partial"}
        assert len({witness.id for witness in shed}) == len(shed)
        assert {witness.role for witness in shed} <= {"client", "server"}
        assert exchanges is not None
        assert exchanges.partial["shed"] == len(shed)
        assert (exchanges.begun, exchanges.open) == (len(final), 0)


def until_shed(line: Pipeline) -> None:
    deadline = time.monotonic() + SECONDS
    while not line.ledger("capture").counters["connections_shed"]:
        assert time.monotonic() < deadline, line.logs()


@contextmanager
def uploading(folder: Path) -> Iterator[None]:
    """Requests whose bodies go on until this ends; both ends are in this process."""
    stopping = threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate.make(folder))
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as listener:
        for number in range(UPLOADS):
            sending = threading.Thread(target=send, args=(listener, number, stopping))
            sending.start()
            plain, _ = listener.accept()
            receiving = threading.Thread(target=swallow, args=(plain, context))
            receiving.start()
            stack.callback(receiving.join, SECONDS)
            stack.callback(sending.join, SECONDS)
        stack.callback(stopping.set)
        yield


def send(listener: socket.socket, number: int, stopping: threading.Event) -> None:
    context = ssl._create_unverified_context()
    with (
        socket.create_connection(listener.getsockname()) as plain,
        context.wrap_socket(plain) as tls,
    ):
        head = f"POST /{number} HTTP/1.1\r\nHost: here\r\nX-Request-Id: upload-{number}\r\n"
        tls.sendall(f"{head}Content-Length: {SIZE}\r\n\r\n".encode())
        while not stopping.wait(0.02):
            tls.sendall(PIECE)


def swallow(plain: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(plain, server_side=True) as tls:
        while tls.recv(len(PIECE)):
            pass
