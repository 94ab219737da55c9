"""The witnesses as they are stored, each exactly once, to an output."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable

import msgspec

from services import subjects
from services.bus import Bus
from services.cli import table
from services.cli.output import Output
from services.cli.rendering import escape, safe_json, witness_line
from services.messages import Witness

Render = Callable[[bytes], bytes]
_witness = msgspec.json.Decoder(Witness)
_STORED = subjects.everything("store.witnesses")


def as_json(payload: bytes) -> bytes:
    return safe_json(payload)


def as_line(payload: bytes) -> bytes:
    try:
        witness = _witness.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return escape(f"(a witness that this release can't read, {len(payload)} bytes)").encode()
    return witness_line(witness).encode(errors="backslashreplace")


def as_row(payload: bytes) -> bytes:
    """A row of a table as wide as the terminal is now; a line where that is too narrow for one."""
    width = shutil.get_terminal_size().columns
    if not table.fits(width):
        return as_line(payload)
    try:
        witness = _witness.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return as_line(payload)
    return table.row(witness, width).encode(errors="backslashreplace")


class Feed:
    """`witnesses` counts exchanges: further parts of one are not counted."""

    def __init__(self, bus: Bus, output: Output, render: Render) -> None:
        self._bus, self._output, self._render = bus, output, render
        self._sequence, self._advanced = 0, asyncio.Event()
        self.witnesses = 0
        self.unread = asyncio.Event()  # set once the output takes no more

    async def run(self, after: int = 0) -> None:
        """For ever; `after` is the stream sequence of the last witness that is none of ours."""
        async for incoming in self._bus.cursor(subjects.WITNESSES, _STORED):
            if incoming.sequence > after:
                self._output.line(self._render(incoming.payload))
                self.witnesses += incoming.message_id.endswith("/1")
                if self._output.closed:
                    self.unread.set()
            self._sequence = incoming.sequence
            self._advanced.set()
            self._advanced = asyncio.Event()

    async def read_to_the_end(self) -> None:
        """Returns once everything that is stored now has been written."""
        last = await last_sequence(self._bus)
        while self._sequence < last:
            await self._advanced.wait()


async def last_sequence(bus: Bus) -> int:
    info = await bus.js.stream_info(subjects.WITNESSES)
    return info.state.last_seq
