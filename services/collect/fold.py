"""One fold: the shard's state, where the batch came from, and what came out so far."""

from __future__ import annotations

from services.collect.state import ShardState
from services.messages import Witness


class Fold:
    __slots__ = ("epoch", "node", "state", "witnesses")

    def __init__(self, state: ShardState, node: str, epoch: int) -> None:
        self.state = state
        self.node = node
        self.epoch = epoch
        self.witnesses: list[Witness] = []
