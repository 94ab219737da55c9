"""Streams over TLS, both ends in this process: SSE and WebSocket by aiohttp, gRPC by h2.

python -m tests.e2e.apps.streams FOLDER SECONDS     one JSON object on stdout: what was sent

FOLDER has certificate.pem and key.pem. Each stream sends something every half second.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import struct
import sys
import zlib
from pathlib import Path

import aiohttp
import h2.config
import h2.connection
import h2.events
from aiohttp import web

PAUSE = 0.5
SECRET = "hunter2"


def event(number: int) -> bytes:
    return f'data: {{"n":{number},"token":"{SECRET}","text":"{"x" * 50}"}}\n\n'.encode()


def said(number: int) -> str:
    return json.dumps({"n": number, "password": SECRET})


def framed(message: bytes, *, compressed: bool) -> bytes:
    data = gzip.compress(message) if compressed else message
    return struct.pack(">BI", compressed, len(data)) + data


class Ends:
    """What both ends of each stream do for `seconds`, and what they sent."""

    def __init__(self, seconds: float) -> None:
        self.count = int(seconds / PAUSE)
        self.events: list[str] = []
        self.talk: list[tuple[str, str]] = []
        self.messages: list[str] = []

    # --- SSE and WebSocket ---

    async def serve_events(self, request: web.Request) -> web.StreamResponse:
        coded = "gzip" in request.query
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        if coded:
            response.headers["content-encoding"] = "gzip"
        await response.prepare(request)
        coding = zlib.compressobj(wbits=31)
        for number in range(self.count):
            data = event(number)
            self.events += [] if coded else [data.decode()]
            if coded:
                data = coding.compress(data) + coding.flush(zlib.Z_SYNC_FLUSH)
            await response.write(data)
            await asyncio.sleep(PAUSE)
        await response.write_eof(coding.flush() if coded else b"")
        return response

    async def serve_websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if request.query["compress"] == "0":
                self.talk.append(("server", f"echo {message.data}"))
            await socket.send_str(f"echo {message.data}")
        return socket

    async def use_events(self, session: aiohttp.ClientSession, path: str) -> None:
        async with session.get(path) as response:
            async for _ in response.content.iter_any():
                pass

    async def use_websocket(self, session: aiohttp.ClientSession, compress: int) -> None:
        async with session.ws_connect(f"/chat?compress={compress}", compress=compress) as socket:
            for number in range(self.count):
                if not compress:
                    self.talk.append(("client", said(number)))
                await socket.send_str(said(number))
                await socket.receive()
                await asyncio.sleep(PAUSE)
            await socket.close(code=4000, message=b"enough")

    # --- gRPC ---

    async def serve_grpc(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        writer.write(state.data_to_send())
        async with asyncio.TaskGroup() as tasks:
            while data := await reader.read(65536):
                for found in state.receive_data(data):
                    if isinstance(found, h2.events.DataReceived):
                        size = found.flow_controlled_length
                        state.acknowledge_received_data(size, found.stream_id)
                    if isinstance(found, h2.events.StreamEnded):
                        tasks.create_task(self.answer_call(state, writer, found.stream_id))
                writer.write(state.data_to_send())
        writer.close()

    async def answer_call(
        self, state: h2.connection.H2Connection, writer: asyncio.StreamWriter, stream: int
    ) -> None:
        watches = stream == 1
        head = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip")]
        state.send_headers(stream, head)
        for number in range(self.count if watches else 1):
            message = b"\x08" + bytes([number])
            if watches:
                self.messages.append(message.hex())
            state.send_data(stream, framed(message, compressed=not watches))
            writer.write(state.data_to_send())
            await asyncio.sleep(PAUSE if watches else 0)
        status = "0" if watches else "5"
        trailers = [("grpc-status", status), ("grpc-message", "no%20such%20item")]
        state.send_headers(stream, trailers, end_stream=True)
        writer.write(state.data_to_send())

    async def call(self, port: int, context: ssl.SSLContext) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        state = h2.connection.H2Connection()
        state.initiate_connection()
        for stream, method in ((1, "Watch"), (3, "Add")):
            head = [
                (":method", "POST"), (":scheme", "https"), (":authority", f"127.0.0.1:{port}"),
                (":path", f"/shop.Cart/{method}"), ("content-type", "application/grpc"),
                ("te", "trailers"),
            ]  # fmt: skip
            state.send_headers(stream, head)
            state.send_data(stream, framed(b"\x0a\x05apple", compressed=False), end_stream=True)
        writer.write(state.data_to_send())
        ended = 0
        while ended < 2:
            for found in state.receive_data(await reader.read(65536)):
                ended += isinstance(found, h2.events.StreamEnded)
            writer.write(state.data_to_send())
        writer.close()
        await writer.wait_closed()


async def run(folder: Path, seconds: float) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    client_side = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
    ends = Ends(seconds)
    application = web.Application()
    application.add_routes([
        web.get("/events", ends.serve_events), web.get("/chat", ends.serve_websocket),
    ])  # fmt: skip
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_side)
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    grpc = await asyncio.start_server(ends.serve_grpc, "127.0.0.1", 0, ssl=server_side)
    connector = aiohttp.TCPConnector(ssl=client_side)
    session = aiohttp.ClientSession(url, connector=connector)
    async with session, asyncio.TaskGroup() as tasks:
        tasks.create_task(ends.use_events(session, "/events"))
        tasks.create_task(ends.use_events(session, "/events?gzip"))
        tasks.create_task(ends.use_websocket(session, 0))
        tasks.create_task(ends.use_websocket(session, 15))
        tasks.create_task(ends.call(grpc.sockets[0].getsockname()[1], client_side))
    grpc.close()
    await runner.cleanup()
    sent = {"events": ends.events, "talk": ends.talk, "messages": ends.messages}
    sys.stdout.write(f"{json.dumps(sent)}\n")


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), float(sys.argv[2])))
