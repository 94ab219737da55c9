"""What can be set about collecting."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.settings import SharedSettings


class Settings(SharedSettings, frozen=True, kw_only=True):
    body_kib: Annotated[int, Meta(ge=0, le=1024)] = 64
    """Kept and shown of one body; parse keeps no more than its own setting says."""
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
