"""Whether the child sees what it must see: its own canary. Pure; an idle node is no hang.

Where the canary's library is not probed nothing is proven by it, and nothing is held against it.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.capture.channel import Pulse


@dataclass(slots=True)
class Watch:
    since: float  # it was last seen, or could not be seen
    silence: float  # seconds
    _seen: int = 0

    def is_blind(self, pulse: Pulse, now: float) -> bool:
        if not pulse.visible or pulse.seen != self._seen:
            self.since, self._seen = now, pulse.seen
        return now - self.since > self.silence
