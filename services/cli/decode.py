"""`plainwire decode`: one message from stdin as text. The NATS CLI starts it once a message, so
nothing that is slow to import may be needed here."""

from __future__ import annotations

import sys

from services.cli.decoding import Undecodable, decode
from services.cli.errors import Failure


def run(*, payload: bool) -> int:
    data = sys.stdin.buffer.read()
    if not data:
        raise Failure("nothing on stdin; pipe one message in, see `plainwire decode --help`")
    try:
        lines = decode(data, payload=payload)
    except Undecodable as error:
        raise Failure(f"can't decode this message: {error}") from None
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0
