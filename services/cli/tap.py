"""`plainwire tap`: messages of the bus as they come, decoded, until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import Mapping

from nats.aio.client import Client
from nats.aio.msg import Msg

from services import subjects
from services.cli.decoding import Undecodable, decode
from services.cli.errors import Failure
from services.cli.filtering import Filter
from services.cli.objects import as_object
from services.cli.rendering import safe_json
from services.cli.tasks import race

LAST_SEQUENCE, SEQUENCE = "Nats-Last-Sequence", "Nats-Sequence"


async def run(client: Client, gone: asyncio.Event, given: Namespace) -> int:
    wanted = Filter.of(given)
    _check(given, wanted)
    reader = Tap(given, wanted)
    await client.subscribe(_subject(given), cb=reader.receive)
    await race(_set(reader.done), _set(gone), within=None)
    if not reader.done.is_set():
        raise Failure("the bus has gone away; is it still running?")
    return 0


def _check(given: Namespace, wanted: Filter) -> None:
    """An option that can't do anything is refused, not ignored."""
    if wanted.restricts and given.what != "witnesses":
        raise Failure(f"tap {given.what} can't be filtered; `tap witnesses` can", status=2)
    if given.payload and given.what in ("witnesses", "coverage"):
        mend = "; bodies are in --json" if given.what == "witnesses" else ""
        raise Failure(f"--payload is for tap raw and tap frames{mend}", status=2)


async def _set(event: asyncio.Event) -> None:
    await event.wait()


def _subject(given: Namespace) -> str:
    if given.what == "witnesses":
        return subjects.witnesses(given.namespace or "*", given.workload or "*")
    return subjects.everything(given.what)


class Tap:
    def __init__(self, given: Namespace, wanted: Filter) -> None:
        self._given, self._wanted = given, wanted
        self._shown = 0
        self._sequences: dict[str, int] = {}
        self.done = asyncio.Event()

    async def receive(self, message: Msg) -> None:
        if self.done.is_set():
            return
        self._notice_loss(message.subject, message.headers or {})
        if not self._wanted.accepts(message.data):
            return
        try:
            for line in self._lines(message.data):
                sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        except Undecodable as error:
            sys.stderr.write(f"plainwire: a message that can't be decoded: {error}\n")
        except BrokenPipeError:
            self.done.set()
        self._shown += 1
        if self._shown == self._given.count:
            self.done.set()

    def _lines(self, data: bytes) -> list[str]:
        if self._given.json:
            return [safe_json(as_object(data, payload=self._given.payload)).decode()]
        return decode(data, payload=self._given.payload)

    def _notice_loss(self, subject: str, headers: Mapping[str, str]) -> None:
        """The stream says, per subject, which message was before this one."""
        before = self._sequences.get(subject)
        previous = headers.get(LAST_SEQUENCE, "")
        if before is not None and previous.isdecimal() and int(previous) > before:
            sys.stderr.write("plainwire: this tap was too slow and missed messages\n")
        if headers.get(SEQUENCE, "").isdecimal():
            self._sequences[subject] = int(headers[SEQUENCE])
