"""One life of the child, from the parent's side: started, loaded, talked with, ended.

It is executed, not forked, so that it can be started at any time; it dies with this process.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from services.capture import channel
from services.capture.channel import Begin, KernelError, Loaded, ToChild, ToParent
from services.capture.framing import frame
from services.capture.memory import Memory

ROOT = Path(__file__).parents[3]
LOAD_WITHIN = 90.0  # seconds: compiling takes long on a busy machine
_MOST_BYTES, _MOST_DESCRIPTORS = 64 << 10, 16


class Life:
    """Start it from the main thread: it ends when the thread that started it does."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._handover, handover = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._talk, talk = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        descriptors = (handover.fileno(), talk.fileno())
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.capture.child.main", *map(str, descriptors)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=descriptors,
            env={**os.environ, "PYTHONPATH": path},
        )
        handover.close()
        talk.close()
        with suppress(OSError):  # it has ended already, which `load` will see
            self._talk.sendall(channel.framed(begin))
        self._messages = asyncio.Queue[ToParent | None]()

    @property
    def pid(self) -> int:
        return self.process.pid

    async def load(self) -> Memory:
        """The memory that it shares with us, once the programs are in the kernel. KernelError."""
        try:
            async with asyncio.timeout(LOAD_WITHIN):
                data, descriptors = await asyncio.to_thread(self._receive)
        except TimeoutError:
            self.kill()
            raise KernelError(f"bcc did not end within {LOAD_WITHIN:g} s") from None
        loaded = msgspec.json.decode(data, type=Loaded) if data else Loaded(problem="")
        if not loaded.maps:
            self.kill()
            raise KernelError(loaded.problem or "the prober ended; run `plainwire doctor`")
        try:
            return Memory(self._begin.rings, dict(zip(loaded.maps, descriptors, strict=True)))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _receive(self) -> tuple[bytes, list[int]]:
        with self._handover:
            data, descriptors, _, _ = socket.recv_fds(
                self._handover, _MOST_BYTES, _MOST_DESCRIPTORS
            )
        return data, descriptors

    async def open(self) -> None:
        """Only then it can be told anything."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._talk)

    async def listen(self) -> None:
        """Until its end. Its words wait for `hear`."""
        while (data := await frame(self._reader)) is not None:
            self._messages.put_nowait(channel.to_parent(data))
        self._messages.put_nowait(None)

    async def hear(self, within: float) -> ToParent | None:
        """None where it has ended. Raises TimeoutError."""
        async with asyncio.timeout(within):
            return await self._messages.get()

    def tell(self, message: ToChild) -> None:
        if not self._writer.is_closing():
            self._writer.write(channel.framed(message))

    def kill(self) -> int:
        """Its exit status. It has nothing that needs saving: the kernel removes its probes."""
        self.process.kill()
        return self.process.wait()
