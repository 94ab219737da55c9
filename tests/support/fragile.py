"""Parse or collect with a bug that a test puts in: raises on messages that hold the words, with the
state spoilt. `python -m tests.support.fragile parse`."""

from __future__ import annotations

import sys
from typing import Any

from services.cli import main
from services.collect import collector
from services.parse import parser

BUGS = {"parse": b"bug-in-parse", "collect": b"bug-in-collect"}
WORKS: dict[str, Any] = {"parse": parser.ShardWork, "collect": collector.ShardWork}


class Bug(Exception):
    """Ours, in a fold."""


def _break(service: str) -> None:
    work, words = WORKS[service], BUGS[service]
    receive = work.receive

    def fragile(self: Any, message: Any) -> Any:
        outputs = receive(self, message)
        if words in message.payload:
            self.state.counter += 1000
            self.state.nodes.clear()
            raise Bug(message.payload)
        return outputs

    work.receive = fragile


if __name__ == "__main__":
    _break(sys.argv[1])
    sys.exit(main.main())
