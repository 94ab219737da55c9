"""The state of one shard in the bucket `plainwire_state`: parts, then the head that names them.

A part is named by the owner's term, its group and one of two slots; a generation writes the slots
that the head does not name, so what is being replaced stays whole until the head is. The head is
written by compare-and-set and names parts by revision. Whoever takes a shard over first writes the
head again under a higher term: from then on the former owner's compare-and-set is refused.
Knows positions and bytes; not what the state means.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from services.arrivals import Arrivals
from services.buckets import Bucket, Conflict, Entry, Part, Unavailable
from services.cursor import StreamPosition
from services.groups import GROUPS, Written
from services.publishing import GIVEN_UP

REST = -1  # the group of everything that belongs to no connection
INLINE = 16 * 1024  # bytes of the rest that stand in the head itself
ATTEMPTS = 5
_MOST_FORMER = 32


class Fenced(Exception):
    """Another replica has taken this shard over."""


class Expired(Exception):
    """The lease has run out; whether anybody else has taken the shard over is not known."""


class Lost(Exception):
    """The bus has lost its buckets, and with them what was saved."""


class Head(msgspec.Struct, frozen=True):
    """`parts` are the revisions of each group's pieces, `keys` where they are."""

    format: int
    code: str  # hash of code and settings
    term: int
    generation: int
    position: StreamPosition
    rest: bytes = b""
    parts: dict[int, tuple[int, ...]] = {}
    slots: dict[int, int] = {}
    former: tuple[int, ...] = ()  # terms whose parts may still be there

    def __repr__(self) -> str:
        return f"Head(term {self.term}, generation {self.generation}, {self.position})"


@dataclass
class Snapshots:
    """Of one shard, for as long as one replica owns it. `valid` is its lease."""

    bucket: Bucket
    name: str  # <service>.<shard>
    format: int
    code: str
    piece_bytes: int
    valid: Callable[[], bool]
    saved_bytes: int = 0  # in the last snapshot
    stored_bytes: int = 0  # all that it refers to
    parts_saved: int = 0
    sizes: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._head: Head | None = None
        self._tried: Head | None = None  # written, or not: there was no answer
        self._revision = 0
        self._unsaved: dict[int, bytes] = {}
        self._attempt = 0
        self._obsolete: set[int] = set()

    # --- taking over ----------------------------------------------------------------------------

    async def fence(self) -> Head:
        """The head as it was, now written under this owner's own term; generation 0 where there
        was none. Raises Unavailable, or Fenced where others were faster all the time."""
        for _ in range(ATTEMPTS):
            found = await self.bucket.get(self._key("head"))
            head = _decode(found) or Head(self.format, self.code, 0, 0, StreamPosition("", 0))
            self._revision = found.revision if found else 0
            self._head = self._following(head)
            try:
                self._revision = await self._put(self._head)
            except Conflict:
                continue
            self._tried = None
            return self._head
        raise Fenced

    def _following(self, head: Head) -> Head:
        former = (*head.former, head.term)[-_MOST_FORMER:]
        return msgspec.structs.replace(head, term=head.term + 1, former=former)

    async def keep(self) -> bool:
        """Nobody has taken the shard over since this owner's last word: it goes on under the next
        term, so that what of it is still on its way meets nothing that is to come. Raises Lost
        where the head is gone, and Unavailable."""
        found = await self.bucket.get(self._key("head"))
        head = _decode(found)
        if found is None or head is None:
            raise Lost
        if head not in (self._head, self._tried):
            return False
        self._revision = found.revision
        following = self._following(head)
        try:
            self._revision = await self._put(following)
        except Conflict:
            return False
        self._head, self._tried = following, None
        return True

    def begin_anew(self) -> None:
        """After Lost: the next snapshot is a first one."""
        term = self._head.term if self._head else 0
        self._head = Head(self.format, self.code, term + 1, 0, StreamPosition("", 0))
        self._tried, self._revision = None, 0

    async def load(self, head: Head) -> Written | None:
        """None where a part is not there."""
        groups: dict[int, bytes] = {}
        for group, revisions in head.parts.items():
            pieces = await asyncio.gather(*(self.bucket.at(revision) for revision in revisions))
            if any(piece is None for piece in pieces):
                return None
            groups[group] = b"".join(piece for piece in pieces if piece)
        self.sizes = {group: len(value) for group, value in groups.items()}
        return Written(groups.pop(REST, head.rest), groups)

    # --- saving ---------------------------------------------------------------------------------

    async def save(self, position: StreamPosition, written: Written) -> None:
        """Raises Unavailable (what was to be saved is kept for the next attempt), Lost,
        Fenced, Expired."""
        if self._tried is not None and not await self.keep():
            raise Fenced
        self._unsaved.update(written.groups)
        inline = written.rest if len(written.rest) <= INLINE else b""
        self._unsaved[REST] = b"" if inline else written.rest
        before = self._before()
        slots = {group: 1 - before.slots.get(group, 1) for group in self._unsaved}
        parts = await self._save_parts(before, slots)
        head = Head(
            format=self.format,
            code=self.code,
            term=before.term,
            generation=before.generation + 1,
            position=position,
            rest=inline,
            parts={g: p for g, p in {**before.parts, **parts}.items() if p},
            slots={**before.slots, **slots},
            former=before.former if not self._is_whole() else (),
        )
        self._check()
        await self._replace(head)
        await self._tidy(before, head)

    def _is_whole(self) -> bool:
        """Every group is written anew, so that nothing of former terms is needed."""
        return self._unsaved.keys() >= set(range(REST, GROUPS))

    async def _save_parts(
        self, before: Head, slots: Mapping[int, int]
    ) -> dict[int, tuple[int, ...]]:
        """The revisions of what was sent, once all of it is stored."""
        self._attempt += 1
        sent: dict[int, list[int]] = {}
        everything = Arrivals()
        for group, value in self._unsaved.items():
            pieces = self._pieces(value)
            sent[group] = [0] * len(pieces)
            for number, piece in enumerate(pieces):
                self._check()
                key = self._key(f"{before.term}.{group}.{slots[group]}.{number}")
                name = f"{key}/{before.generation}/{self._attempt}"
                stored = everything.one_more(sent[group], number)
                await self.bucket.send(Part(key, piece, name, stored, self.valid))
        while not everything.complete():
            self._check()
            await everything.wait(1.0)
        if any(GIVEN_UP in revisions for revisions in sent.values()):
            raise Unavailable("a part")
        return {group: tuple(revisions) for group, revisions in sent.items()}

    async def _replace(self, head: Head) -> None:
        """Writes the head; a lost answer is looked up until it is known. Where it stays unknown the
        next one has another term: no part that this one may name is overwritten."""
        self._tried = head
        for _ in range(ATTEMPTS):
            try:
                self._revision = await self._put(head)
            except Unavailable:
                pass
            except Conflict:
                await self._look_up(head)
            else:
                self._head, self._tried = head, None
                return
            if self._head is head:
                return
            self._check()
        raise Unavailable("the head")

    async def _look_up(self, head: Head) -> None:
        """After a refusal: it is there already, or the bus has lost its buckets, or it is not this
        owner's any more."""
        found = await self.bucket.get(self._key("head"))
        there = _decode(found)
        if there is None:
            raise Lost
        if found is None or there != head:
            raise Fenced
        self._head, self._tried, self._revision = head, None, found.revision

    async def _put(self, head: Head) -> int:
        return await self.bucket.put(
            self._key("head"), msgspec.msgpack.encode(head), self._revision
        )

    async def _tidy(self, before: Head, head: Head) -> None:
        """What the head does not name any more goes: plaintext lives for seconds."""
        sizes = {group: len(value) for group, value in self._unsaved.items()}
        self.sizes.update(sizes)
        self.saved_bytes = sum(sizes.values()) + len(head.rest)
        self.stored_bytes = sum(self.sizes.values()) + len(head.rest)
        self.parts_saved = len(sizes)
        self._obsolete.update(before.former if self._is_whole() else ())
        self._unsaved.clear()
        for term in tuple(self._obsolete):
            with contextlib.suppress(Unavailable):  # tried again after the next one
                await self.bucket.purge(self._key(str(term)))
                self._obsolete.discard(term)
        if before.former:
            return  # the parts that were replaced are of those terms
        for group in sizes:
            for number in range(len(before.parts.get(group, ()))):
                await self.bucket.clear(
                    self._key(f"{before.term}.{group}.{before.slots[group]}.{number}")
                )

    def _before(self) -> Head:
        if self._head is None:
            raise Fenced
        return self._head

    def _pieces(self, value: bytes) -> list[bytes]:
        size = self.piece_bytes
        return [value[begin : begin + size] for begin in range(0, len(value), size)]

    def _check(self) -> None:
        if not self.valid():
            raise Expired

    def _key(self, name: str) -> str:
        return f"{self.name}.{name}"


def _decode(found: Entry | None) -> Head | None:
    if found is None or not found.value:
        return None
    try:
        return msgspec.msgpack.decode(found.value, type=Head)
    except (msgspec.DecodeError, ValueError):
        return None
