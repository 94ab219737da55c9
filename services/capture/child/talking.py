"""The child's end of the channel: frames in and out of its socket, around the prober."""

from __future__ import annotations

import asyncio
import socket

from services.capture import channel
from services.capture.channel import Begin, ToChild, ToParent
from services.capture.child.loaded import Kernel
from services.capture.child.prober import Prober
from services.capture.framing import frame


def run(begin: Begin, kernel: Kernel, talk: socket.socket) -> int:
    asyncio.run(_run(begin, kernel, talk))
    return 0


async def _run(begin: Begin, kernel: Kernel, talk: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=talk)
    commands = asyncio.Queue[ToChild | None]()

    def tell(message: ToParent) -> None:
        writer.write(channel.framed(message))

    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(_listen(reader, commands), name="listen")
        await Prober(begin, kernel, tell).run(commands)
        listening.cancel()
    try:
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    except ConnectionError:
        return


async def _listen(reader: asyncio.StreamReader, commands: asyncio.Queue[ToChild | None]) -> None:
    while (data := await frame(reader)) is not None:
        commands.put_nowait(channel.to_child(data))
    commands.put_nowait(None)
