"""Where witnesses go besides the bus. A sink takes what it is offered at once or counts it away."""

from __future__ import annotations

import asyncio
from typing import Protocol

from services.messages import Witness


class Sink(Protocol):
    def offer(self, witness: Witness) -> None:
        """Never waits and never fails: what finds no room is counted."""

    def counters(self) -> dict[str, int]: ...

    async def run(self, stopping: asyncio.Event) -> None:
        """Delivers until `stopping` is set, and then what is left for as long as it may."""
