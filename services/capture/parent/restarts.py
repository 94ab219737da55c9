"""When a child that has ended is started again: with back-off, seldom once it keeps failing.

Pure: the moments of its life in, pauses out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

FIRST, LONGEST = 0.25, 15.0  # seconds of pause
STEADY = 60.0  # seconds of life after which a failure counts as the first again
RATE_OVER = 600.0  # seconds


@dataclass(slots=True)
class Restarts:
    """The breaker opens after `most` failures in a row; then one attempt is made every `cool`
    seconds, and whatever lives for a while closes it."""

    most: int = 5
    cool: float = 300.0
    failures: int = 0  # in a row
    total: int = 0
    _at: deque[float] = field(default_factory=lambda: deque(maxlen=100))

    @property
    def broken(self) -> bool:
        return self.failures >= self.most

    def failed(self, now: float, lived: float) -> float:
        """The seconds to wait until the next attempt."""
        self.failures = 1 if lived >= STEADY else self.failures + 1
        self.total += 1
        self._at.append(now)
        return self.cool if self.broken else min(LONGEST, FIRST * 2.0 ** (self.failures - 1))

    def steady(self, lived: float) -> bool:
        """It lives for long enough: whether this closes the breaker."""
        if lived < STEADY or not self.failures:
            return False
        self.failures = 0
        return True

    def rate(self, now: float) -> int:
        """Failures within the last ten minutes."""
        return sum(now - at <= RATE_OVER for at in self._at)
