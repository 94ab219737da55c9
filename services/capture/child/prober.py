"""The child at work: targets in, probes on; rings looked at when they fill or a tick is due.

The loops. A look is told to the parent, which copies the records and frees the rings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from services.capture import layout
from services.capture.channel import (
    Attached,
    Begin,
    Classify,
    Follow,
    KernelError,
    Look,
    Pulse,
    Stop,
    ToChild,
    ToParent,
)
from services.capture.child import processes, reconcile
from services.capture.child.canary import Canary
from services.capture.child.loaded import Kernel
from services.capture.child.looking import Looker
from services.capture.child.overhearing import Overhearing
from services.capture.child.probes import Probes
from services.capture.child.sighting import Sighter
from services.messages import Target

TICK = 1.0  # seconds
BUSY_PAUSE = 0.010  # between two looks while there is traffic
LOADED_PAUSE = 0.025  # and where a look finds so much that fewer and larger batches pay
LOADED = 256 << 10  # bytes a look
QUIET_LOOKS = 3  # empty looks before the child asks to be woken
FILLING = 0.25  # of a ring: above it the pause is cut


class Prober:
    """`tell` hands a message to the parent, `commands` are the parent's."""

    def __init__(self, begin: Begin, kernel: Kernel, tell: Callable[[ToParent], None]) -> None:
        self._kernel, self._tell = kernel, tell
        self._looker, self._canary = Looker(kernel, begin.node), Canary()
        self._probes = Probes(kernel)
        self._sighter = Sighter(kernel, begin.rings.default, tell)
        self._overhearing = Overhearing(kernel, begin, tell)
        self._attached: dict[str, Target] = {}
        self._numbers: dict[str, int] = {}  # of what is attached; each is given once
        self._given = 0
        self._retired: list[int] = []
        self._leaving: dict[str, asyncio.Task[None]] = {}  # by key, while they are detached
        self._failed: dict[str, str] = {}  # by key, why it could not be attached
        self._woken = asyncio.Event()
        self._wanted = asyncio.Queue[tuple[Target, ...]]()

    async def run(self, commands: asyncio.Queue[ToChild | None]) -> None:
        """Until it is told to stop, or the parent is gone (None)."""
        async with asyncio.TaskGroup() as tasks:
            loops = [
                tasks.create_task(self._look_for_ever(), name="look"),
                tasks.create_task(self._follow(), name="follow"),
                tasks.create_task(self._sighter.run(), name="sight"),
                tasks.create_task(self._overhearing.run(), name="overhear"),
            ]
            stopped = await self._obey(commands)
            for loop in loops:
                loop.cancel()
        self._probes.close()
        if stopped:
            self._look(pulse=self._pulse(), final=True)
        self._kernel.close()

    async def _obey(self, commands: asyncio.Queue[ToChild | None]) -> bool:
        while True:
            match await commands.get():
                case Follow(targets=targets, containers=containers):
                    self._looker.learn(containers)
                    self._wanted.put_nowait(targets)
                case Classify(classes=classes):
                    self._kernel.set_classes(classes)
                    processes.name_all(self._kernel)
                case Look(number=number):
                    self._look(pulse=self._pulse(), answers=number)
                case Stop():
                    return True
                case _:
                    return False

    # --- targets -> probes ---

    async def _follow(self) -> None:
        """What is new is attached at once: to take probes off takes the kernel long."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                targets = await self._wanted.get()
                plan = reconcile.plan(targets, self._attached)
                self._forget_retired()
                for key in plan.detach:
                    target = self._attached.pop(key)
                    leaving = tasks.create_task(self._detach(key, target), name=f"detach {key}")
                    self._leaving[key] = leaving
                self._failed = {}
                for target in plan.attach:
                    # Probed twice at once its bytes would come twice.
                    if leaving_now := self._leaving.get(target.identity.key()):
                        await leaving_now
                    await self._attach(target, self._failed)
                if plan.attach or not plan.detach:
                    self._tell(Attached(tuple(self._attached), self._failed))

    async def _detach(self, key: str, target: Target) -> None:
        await asyncio.to_thread(self._probes.detach, key)
        self._sighter.forget(target)
        number = self._numbers.pop(key)
        self._kernel.retire(number)
        self._retired.append(number)
        del self._leaving[key]
        if not self._leaving:
            self._tell(Attached(tuple(self._attached), self._failed))

    async def _attach(self, target: Target, failed: dict[str, str]) -> None:
        key = target.identity.key()
        self._given += 1
        number = self._given
        self._looker.connections.libraries[number] = target.library
        try:
            await asyncio.to_thread(self._probes.attach, target, number)
        except KernelError as error:
            failed[key] = str(error)
            self._retired.append(number)
        else:
            self._attached[key], self._numbers[key] = target, number

    def _forget_retired(self) -> None:
        """Long after: what the kernel said of them before they went was read since."""
        for number in self._retired:
            del self._looker.connections.libraries[number]
        self._retired.clear()

    # --- rings -> parent ---

    async def _look_for_ever(self) -> None:
        self._look(pulse=self._pulse())
        next_tick, quiet = time.monotonic() + TICK, 0
        while True:
            if quiet < QUIET_LOOKS:
                await asyncio.sleep(self._busy_pause())
            else:
                await self._until_woken(next_tick)
            pulse = None
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK
                pulse = self._pulse()
            quiet = 0 if self._look(pulse=pulse) else quiet + 1

    def _look(self, *, pulse: Pulse | None = None, answers: int = 0, final: bool = False) -> int:
        """The bytes that it found. What says nothing is not told."""
        looked = self._looker.look(pulse=pulse, answers=answers, final=final)
        if pulse is not None:
            self._kernel.births.tick()
        if looked.reads or looked.news or pulse is not None:
            self._tell(looked)
        return self._looker.size

    def _pulse(self) -> Pulse:
        """Of the canary; what it says now is heard by the next one."""
        canary = self._canary
        canary.hear(self._looker.canaries)
        self._looker.canaries.clear()
        visible = canary.is_visible(target.identity for target in self._attached.values())
        pulse = Pulse(visible, canary.sent, canary.seen)
        if visible:
            canary.sing()
        return pulse

    def _busy_pause(self) -> float:
        if self._kernel.memory.fill() > FILLING:
            return 0
        return LOADED_PAUSE if self._looker.size > LOADED else BUSY_PAUSE

    async def _until_woken(self, next_tick: float) -> None:
        """Sleeps until the kernel rings or a tick is due."""
        loop = asyncio.get_running_loop()
        fds, shared = self._kernel.control_fds, self._kernel.memory.shared
        self._woken.clear()
        shared[layout.WAITING] = 1
        for fd in fds:
            loop.add_reader(fd, self._woken.set)
        try:
            if not self._looker.waiting():  # what came before the bell was set would not ring it
                async with asyncio.timeout(max(0.0, next_tick - time.monotonic())):
                    await self._woken.wait()
        except TimeoutError:
            pass
        finally:
            shared[layout.WAITING] = 0
            for fd in fds:
                loop.remove_reader(fd)
