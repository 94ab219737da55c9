"""What can be set about parsing."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.settings import SharedSettings


class Settings(SharedSettings, frozen=True, kw_only=True):
    body_kib: Annotated[int, Meta(ge=0, le=1024)] = 64
    """Of one body that is passed on; what is more is counted."""
    head_kib: Annotated[int, Meta(ge=1, le=256)] = 64
    """Of one header block; a larger one is malformed."""
    connections: Annotated[int, Meta(ge=1)] = 20_000
    """Followed at once in one shard; beyond it the one that was idle for longest is given up."""
    buffered_mib: Annotated[int, Meta(ge=1)] = 128
    """What one shard keeps of connections in hand (messages, header tables, compression); beyond it
    the one that was idle for longest is given up."""
    idle_minutes: Annotated[int, Meta(ge=1)] = 60
    """A connection without a byte for this long is forgotten."""
    pending_mib: Annotated[int, Meta(ge=1)] = 64
    """Bytes of one shard that wait behind bytes still under way."""
