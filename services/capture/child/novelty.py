"""Which executable mappings are worth a look: those of files that are new, and of others now and
then, because whoever mapped them first may have been gone before anybody looked. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

MAX_FILES = 16384
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 600.0  # seconds between two sightings of one file; it doubles
PER_SECOND, BURST = 50.0, 200.0  # processes to look at
INODE = slice(8, 16)  # of what the kernel says of a file


@dataclass(slots=True)
class _File:
    due: float
    pause: float


class Novelty:
    """A file is what the kernel says of it: device, inode and generation, packed."""

    def __init__(self) -> None:
        self._files: OrderedDict[bytes, _File] = OrderedDict()
        self._credit, self._since = BURST, 0.0
        self.refused = 0

    def receive(self, mapped: Iterable[tuple[int, bytes]], now: float) -> list[int]:
        """The processes to look at, each once."""
        found = dict.fromkeys(pid for pid, file in mapped if self._is_due(file, now))
        self._credit = min(BURST, self._credit + (now - self._since) * PER_SECOND)
        self._since = now
        granted = list(found)[: int(self._credit)]
        self._credit -= len(granted)
        self.refused += len(found) - len(granted)
        return granted

    def forget(self, inode: int) -> None:
        """Nothing probes it any more: who maps it next is news at once. On whatever device: that of
        an overlay's file is the overlay's."""
        number = inode.to_bytes(8, "little")
        for file in [file for file in self._files if file[INODE] == number]:
            del self._files[file]

    def _is_due(self, file: bytes, now: float) -> bool:
        known = self._files.get(file)
        if known is None:
            if len(self._files) >= MAX_FILES:
                self._files.popitem(last=False)
            self._files[file] = _File(now + FIRST_PAUSE, FIRST_PAUSE)
            return True
        if now < known.due:
            return False
        known.pause = min(2 * known.pause, LONGEST_PAUSE)
        known.due = now + known.pause
        self._files.move_to_end(file)
        return True
