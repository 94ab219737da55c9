"""One HTTP/2 connection of the demo's server: streams answered side by side, with flow control."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from demo.answers import Answer, Request
from demo.http1 import Service


@dataclass
class Connection:
    service: Service
    writer: asyncio.StreamWriter
    tasks: asyncio.TaskGroup
    state: h2.connection.H2Connection = field(
        default_factory=lambda: h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
    )
    heads: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    bodies: dict[int, bytearray] = field(default_factory=dict)
    window_grew: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False

    def flush(self) -> None:
        self.writer.write(self.state.data_to_send())

    def receive(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self.heads[event.stream_id] = [(str(k), str(v)) for k, v in event.headers]
                self.bodies[event.stream_id] = bytearray()
            case h2.events.DataReceived():
                self.bodies[event.stream_id] += event.data
                self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.tasks.create_task(self.respond(event.stream_id))
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                self.window_grew.set()
            case _:
                pass

    async def respond(self, stream: int) -> None:
        request = _request(self.heads.pop(stream), bytes(self.bodies.pop(stream)))
        reply = _with_length(await self.service.respond(request))
        try:
            await self.send(stream, request, reply)
        except h2.exceptions.H2Error:
            return  # the client reset the stream, or left
        name = str(self.writer.get_extra_info("peername")[1])
        self.service.answered(name, request, reply)

    async def send(self, stream: int, request: Request, reply: Answer) -> None:
        body = b"" if request.method == "HEAD" else reply.body
        head = [(":status", str(reply.status)), *reply.headers]
        self.state.send_headers(stream, head, end_stream=not body)
        while body:
            room = min(
                self.state.local_flow_control_window(stream), self.state.max_outbound_frame_size
            )
            if room <= 0:
                self.flush()
                self.window_grew.clear()
                await self.window_grew.wait()
                if self.gone:
                    return
                continue
            self.state.send_data(stream, body[:room], end_stream=len(body) <= room)
            body = body[room:]
        self.flush()
        await self.writer.drain()


async def serve(
    service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    async with asyncio.TaskGroup() as tasks:
        connection = Connection(service, writer, tasks)
        connection.state.initiate_connection()
        connection.flush()
        while data := await reader.read(65536):
            for event in connection.state.receive_data(data):
                connection.receive(event)
            connection.flush()
            await writer.drain()
        connection.gone = True
        connection.window_grew.set()


def _with_length(reply: Answer) -> Answer:
    if reply.status == 204:
        return reply
    return reply._replace(headers=[*reply.headers, ("content-length", str(len(reply.body)))])


def _request(head: list[tuple[str, str]], body: bytes) -> Request:
    pseudo = dict(pair for pair in head if pair[0].startswith(":"))
    headers = [pair for pair in head if not pair[0].startswith(":")]
    return Request(pseudo[":method"], pseudo[":path"], headers, body)
