"""One HTTP/1.1 connection of the demo's server: keep-alive, one exchange after the other."""

from __future__ import annotations

import asyncio
from typing import Protocol

import h11

from demo.answers import Answer, Request


class Service(Protocol):
    async def respond(self, request: Request) -> Answer: ...

    def answered(self, connection: str, request: Request, reply: Answer) -> None: ...


async def serve(
    service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    connection = h11.Connection(h11.SERVER)
    name = str(writer.get_extra_info("peername")[1])
    while (request := await _receive(connection, reader, writer)) is not None:
        reply = await service.respond(request)
        sent = _encode(connection, request, reply)
        writer.write(sent)
        await writer.drain()
        service.answered(name, request, reply._replace(headers=_headers(sent)))
        if connection.our_state is h11.MUST_CLOSE:
            return
        connection.start_next_cycle()


async def _receive(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Request | None:
    head: h11.Request | None = None
    body = b""
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    interim = h11.InformationalResponse(status_code=100, headers=[])
                    writer.write(connection.send(interim) or b"")
                connection.receive_data(await reader.read(65536))
            case h11.Request() as request:
                head = request
            case h11.Data(data=data):
                body += data
            case h11.EndOfMessage() if head is not None:
                headers = [(k.decode(), v.decode()) for k, v in head.headers]
                return Request(head.method.decode(), head.target.decode(), headers, body)
            case _:
                return None


def _encode(connection: h11.Connection, request: Request, reply: Answer) -> bytes:
    """Chunked where `?chunked=1` asks for it, else with a length."""
    headers = list(reply.headers)
    if reply.status != 204:
        framing = ("transfer-encoding", "chunked")
        headers.append(
            framing if request.query("chunked") else ("content-length", str(len(reply.body)))
        )
    events: list[h11.Event] = [h11.Response(status_code=reply.status, headers=headers)]
    if reply.body and request.method != "HEAD":
        half = len(reply.body) // 2 or 1
        events += [h11.Data(data=part) for part in (reply.body[:half], reply.body[half:]) if part]
    events.append(h11.EndOfMessage())
    return b"".join(connection.send(event) or b"" for event in events)


def _headers(sent: bytes) -> list[tuple[str, str]]:
    """As they went over the wire: h11 adds its own."""
    lines = sent.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
