"""Frames of the channel out of a stream."""

from __future__ import annotations

import asyncio

from services.capture import channel


async def frame(reader: asyncio.StreamReader) -> bytes | None:
    """None at the end."""
    try:
        (length,) = channel.LENGTH.unpack(await reader.readexactly(channel.LENGTH.size))
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
