"""Messages on which a fold raised: a bug of ours, that must neither end the service nor bring it
back to the same message for ever.

Whoever reads gives the state up, which nobody knows how far it has changed, and folds again from
the last snapshot. When that message comes back it is passed over, with no word of what it says: the
fold is deterministic, so that whoever folds the same input again comes to the same decision.
Knows neither shards' states nor the bus.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from services.bus import Outgoing
from services.cursor import Incoming, StreamPosition
from services.work import Work

log = logging.getLogger("plainwire.stage")


class Unfoldable:
    """Of one shard, until a snapshot is behind them."""

    def __init__(self, shard: int, counters: Counter[str]) -> None:
        self._shard = shard
        self._counters = counters
        self._tried: dict[tuple[str, int], int] = {}
        self._said: set[str] = set()

    def __contains__(self, message: Incoming) -> bool:
        return (message.created, message.sequence) in self._tried

    def fold(self, work: Work, message: Incoming) -> list[Outgoing] | None:
        """None where it raised: the work is then of no use any more."""
        key = message.created, message.sequence
        tried = self._tried.get(key, 0)
        try:
            match tried:
                case 0:
                    return work.receive(message)
                case 1:
                    return work.skip(message)
                case _:  # even that raised
                    self._counters["messages_skipped_untold"] += 1
                    return []
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._tried[key] = tried + 1
            self._counters["folds_failed"] += 1
            self._say(error)
            return None

    def forget(self, upto: StreamPosition) -> None:
        """What a snapshot is behind is not folded again."""
        for created, sequence in tuple(self._tried):
            if created != upto.created or sequence <= upto.sequence:
                del self._tried[created, sequence]

    def _say(self, error: Exception) -> None:
        """Kind and place, once: an exception's own words may quote what was captured."""
        what = f"{type(error).__name__} in {_place(error)}"
        if what not in self._said:
            self._said.add(what)
            log.error("shard %d: a message is passed over, a bug: %s", self._shard, what)


def _place(error: Exception) -> str:
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}" if at else "nowhere"
