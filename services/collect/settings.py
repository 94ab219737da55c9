"""What can be set about collecting."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.settings import SharedSettings


class Settings(SharedSettings, frozen=True, kw_only=True):
    body_kib: Annotated[int, Meta(ge=0, le=1024)] = 64
    """Kept and shown of one body or message; parse keeps no more than its own setting says. What
    streams comes in parts of so much."""
    part_seconds: Annotated[float, Meta(gt=0)] = 5.0
    """An answer that lasts longer comes in parts, one for each such time that brought something."""
    part_messages: Annotated[int, Meta(ge=1)] = 512
    """Messages of gRPC or WebSocket in one part; the next one has what comes after them."""
    streams: Annotated[int, Meta(ge=1)] = 2_000
    """Open in parts at once in one shard; beyond it the idlest ends as partial."""
    stream_wait_seconds: Annotated[float, Meta(gt=0)] = 3600.0
    """How long an exchange in parts may be silent before it is given up."""
    wait_seconds: Annotated[float, Meta(gt=0)] = 600.0
    """How long an exchange waits for what is missing of it, since its last frame."""
    exchanges: Annotated[int, Meta(ge=1)] = 20_000
    """Open at once in one shard; beyond it the oldest ends as partial."""
    connections: Annotated[int, Meta(ge=1)] = 50_000
    """Known at once in one shard; beyond it the oldest is forgotten."""
    buffered_mib: Annotated[int, Meta(ge=1)] = 64
    """Body bytes of open exchanges in one shard; beyond it the oldest ends as partial."""
    span_queue: Annotated[int, Meta(ge=1)] = 8_192
    """Spans that wait for the OTLP receiver; beyond it new ones are dropped and counted."""
