"""The anchor that turns boot time into Unix time: stable, so that a connection's times agree.

It is measured again now and then, and changed only when the clocks have drifted apart.
"""

from __future__ import annotations

DRIFT_NS = 1_000_000


class Anchor:
    def __init__(self, unix_ns: int, boot_ns: int) -> None:
        self.ns = unix_ns - boot_ns

    def measured(self, unix_ns: int, boot_ns: int) -> int:
        found = unix_ns - boot_ns
        if abs(found - self.ns) > DRIFT_NS:
            self.ns = found
        return self.ns
