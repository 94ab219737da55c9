"""One shard in the hands of one replica: read, fold, publish, save; from taking over to handing on.

A message is folded only while the lease is valid. Its outputs stay in the outbox until the bus has
stored them, and a snapshot of what was folded is written only then; the input up to it is removed
only after that. What is folded is the service's business (Work). Where a fold raises, the state,
which nobody knows how far it has changed, is given up for the last snapshot's (unfoldable.py).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from services.buckets import Unavailable
from services.bus import destination
from services.cursor import Cursor, StreamPosition
from services.leases import Lease
from services.outbox import Outbox
from services.publishing import Stored
from services.snapshots import Expired, Fenced, Head, Lost, Snapshots
from services.unfoldable import Unfoldable
from services.work import FoldingBus, Service, Traces, Work

SAVE_EVERY = 1.0  # seconds
SAVE_AT_LEAST_EVERY = 10.0
SHARE = 0.04  # of a core that snapshots of one shard may take, within these two
TRY_AGAIN_AFTER = 0.25
PIECE_BYTES = 512 * 1024


@dataclass
class Folding:
    """`work` outlives a lease that ran out while the bus was away: if nobody else has taken the
    shard over by then, it goes on where it was."""

    bus: FoldingBus
    telemetry: Traces
    service: Service
    stream: str
    subject: str
    shard: int
    snapshots: Snapshots
    now: Callable[[], float]
    counters: Counter[str] = field(default_factory=Counter)
    work: Work | None = None
    position: StreamPosition | None = None
    saved_at: float = 0.0

    def __post_init__(self) -> None:
        self.outbox = Outbox()
        self.lease = Lease(self.shard, 0, 0.0)
        self.cursor: Cursor | None = None
        self._whole = True  # the next snapshot has every group
        self._saved: StreamPosition | None = None
        self._pause = SAVE_EVERY
        self._leaving = asyncio.Event()
        self._ended = False
        self._save_now = asyncio.Event()
        self._unfoldable = Unfoldable(self.shard, self.counters)

    def valid(self) -> bool:
        return self.lease.valid(self.now())

    def leave(self) -> None:
        """Ends after the message in hand."""
        self._leaving.set()
        if self.cursor is not None:
            self.cursor.stop()

    def forget(self) -> None:
        """The state is somebody else's."""
        self.work, self.position, self._saved = None, None, None
        self.outbox = Outbox()

    async def run(self, lease: Lease) -> None:
        """Until it is told to leave, or the lease has run out. Raises Fenced, Expired."""
        self.lease = lease
        self._leaving.clear()
        while (work := await self._take_over()) is not None:
            self._ended = False
            self._save_now.clear()
            self.service.owned[self.shard] = work
            try:
                await self._work(work)
            finally:
                self.service.owned.pop(self.shard, None)
            if self.work is work:
                break
        if work is not None and self.valid():
            await self._hand_on(work)

    async def _work(self, work: Work) -> None:
        failed: list[Exception] = []
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._save_regularly(work, failed), name=f"save {self.shard}")
            try:
                await self._read(work)
            finally:
                self._ended = True
                self._save_now.set()
        if failed:
            raise failed[0]

    async def _hand_on(self, work: Work) -> None:
        saved = await self._save(work)
        while self.valid() and not saved:
            await asyncio.sleep(TRY_AGAIN_AFTER)
            saved = await self._save(work)
        if saved:
            self.forget()

    # --- taking over ----------------------------------------------------------------------------

    async def _take_over(self) -> Work | None:
        """None where the lease runs out before the bus has answered."""
        while self.valid() and not self._leaving.is_set():
            try:
                if self.work is not None:
                    await self._keep_or_forget()
                if self.work is None:
                    await self._load(await self.snapshots.fence())
            except Unavailable:
                self.counters["takeovers_tried_again"] += 1
                await asyncio.sleep(TRY_AGAIN_AFTER)
                continue
            self._whole, self.saved_at = True, self.now()
            return self.work
        return None

    async def _keep_or_forget(self) -> None:
        """What this replica still has in memory from an earlier lease."""
        try:
            if await self.snapshots.keep():
                self.counters["states_kept"] += 1
                return
            self.forget()
        except Lost:
            self.counters["states_kept"] += 1
            self.snapshots.begin_anew()

    async def _load(self, head: Head) -> None:
        self.work = await self._resume(head)
        self.outbox = Outbox()
        self._saved = self.position = head.position if self.work is not None else None
        if self.work is None:
            self.work = self.service.begin(self.shard)

    async def _resume(self, head: Head) -> Work | None:
        if not head.position.created:
            return None
        if head.format != self.service.format:
            self.counters["snapshots_of_another_format"] += 1
            return None
        if head.code != self.service.code:
            self.counters["snapshots_of_another_code"] += 1
        written = await self.snapshots.load(head)
        work = self.service.resume(self.shard, written) if written is not None else None
        self.counters["snapshots_loaded" if work else "snapshots_unreadable"] += 1
        return work

    # --- reading --------------------------------------------------------------------------------

    async def _read(self, work: Work) -> None:
        if not await self._publish_from(0):
            return
        self.cursor = self.bus.cursor(self.stream, self.subject, self.position)
        if self._leaving.is_set():
            return
        async for message in self.cursor:
            if not self.valid():
                return
            with self.telemetry.processing(destination(message.subject), message.headers):
                outputs = self._unfoldable.fold(work, message)
                if outputs is None:
                    self.forget()
                    return
                self.outbox.add(outputs)
                self.position = message.position
                work.stored(self.outbox.done())
                if not await self._publish_from(self.outbox.messages):
                    return
            if message in self._unfoldable:
                self._save_now.set()  # so that another one of its kind has little to fold again
                await asyncio.sleep(0)
            if self._leaving.is_set():
                return

    async def _publish_from(self, messages: int) -> bool:
        """False where the lease ran out before the last of them."""
        for at, out in self.outbox.waiting(messages):
            if not self.valid():
                return False
            await self.bus.publish(out, self._note(at), self.valid)
        return True

    def _note(self, at: tuple[int, int]) -> Stored:
        outbox = self.outbox

        def stored(_: int) -> None:
            outbox.stored(at)
            if self.work is not None and outbox is self.outbox:
                self.work.stored(outbox.done())

        return stored

    async def decide(self) -> None:
        """Only for what a clock must tell: it becomes input, and is folded when it comes back."""
        if self.work is None or self.shard not in self.service.owned:
            return
        for out in self.work.decide(self.now()):
            if self.valid():
                await self.bus.publish(out, None, self.valid)

    # --- saving ---------------------------------------------------------------------------------

    async def _save_regularly(self, work: Work, failed: list[Exception]) -> None:
        pause = SAVE_EVERY * (1 + self.shard % 16) / 16  # not all at once
        try:
            while True:
                await _set_within(self._save_now, pause)
                if self._ended:
                    return
                self._save_now.clear()
                if self.valid():
                    await self._save(work)
                pause = self._pause
        except (Fenced, Expired) as reason:
            failed.append(reason)
            self.leave()

    async def _save(self, work: Work) -> bool:
        """True where the last snapshot has all that was folded before this call."""
        position, outbox, messages = self.position, self.outbox, self.outbox.messages
        if work is not self.work or position is None:
            return True
        if position == self._saved and not self._whole:
            return True
        begun = time.thread_time()
        written = work.write(everything=self._whole)
        self._whole = False
        cost = time.thread_time() - begun
        await self._acknowledged(outbox, messages)
        try:
            await self.snapshots.save(position, written)
        except Unavailable:
            self.counters["snapshots_tried_again"] += 1
            self._whole = True
            return False
        except Lost:
            self.counters["snapshots_lost"] += 1
            self.snapshots.begin_anew()
            self._whole = True
            return False
        self._saved, self.saved_at = position, self.now()
        self._account(cost)
        self._unfoldable.forget(position)
        await self.bus.purge(position, self.stream, self.subject)
        return True

    def _account(self, cost: float) -> None:
        """A large state is saved more seldom, so that its share of a core is bounded."""
        snapshots = self.snapshots
        cost += snapshots.saved_bytes / 400e6 + snapshots.parts_saved * 100e-6
        self._pause = min(SAVE_AT_LEAST_EVERY, max(SAVE_EVERY, cost / SHARE))
        self.counters["snapshots_saved"] += 1
        self.counters["snapshots_saved_bytes"] += snapshots.saved_bytes
        self.counters["snapshots_us"] += int(cost * 1e6)

    async def _acknowledged(self, outbox: Outbox, messages: int) -> None:
        """Every output of so many messages. Raises Expired where the lease runs out before."""
        while outbox.done() < messages:
            if not self.valid():
                raise Expired
            outbox.changed.clear()
            await _set_within(outbox.changed, 1.0)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
