"""A WebSocket server and a client in one process, each message that is sent a line of JSON."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys

import websockets.asyncio.client
import websockets.asyncio.server


def tell(sender: str, message: str | bytes) -> str | bytes:
    kind = "text" if isinstance(message, str) else "binary"
    size = len(message.encode() if isinstance(message, str) else message)
    sys.stdout.write(json.dumps([sender, kind, size]) + "\n")
    return message


async def answer(connection: websockets.asyncio.server.ServerConnection) -> None:
    async for message in connection:
        await connection.send(tell("server", message[::-1]))
        await connection.send(tell("server", b"x" * 17))


async def main(certificate: str, key: str, largest: str) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    client_side = ssl.create_default_context(cafile=certificate)
    noise = random.Random(3)
    texts = [
        " ".join(noise.choices(["apple", "pear", "plum"], k=k))
        for k in (1, 30, 30, int(largest) // 100)
    ]
    async with websockets.asyncio.server.serve(
        answer, "127.0.0.1", 0, ssl=server_side, max_size=None, ping_interval=None
    ) as server:
        port = server.sockets[0].getsockname()[1]
        async with websockets.asyncio.client.connect(
            f"wss://127.0.0.1:{port}/chat", ssl=client_side, max_size=None, ping_interval=None
        ) as client:
            for message in [
                *texts,
                noise.randbytes(int(largest)),
                noise.randbytes(min(int(largest), 70_000)),
            ]:
                await client.send(tell("client", message))
                await client.recv()
                await client.recv()
            pieces = ["in ", "three ", "fragments"]
            tell("client", "".join(pieces))
            await client.send(iter(pieces))
            await client.recv()
            await client.recv()


asyncio.run(main(*sys.argv[1:]))
