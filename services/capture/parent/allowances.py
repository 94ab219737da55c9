"""Classes of workloads: who is shed first, and who has a rate of its own. Pure.

The kernel knows a class by its number, from 1; whoever has none is in the first, 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.capture.layout import CLASSES
from services.capture.parent.shedding import WEIGHTS, WHOLE, Controller, Priority, Sample
from services.messages import Allowance

MOST = CLASSES - 1
_PRIORITIES: dict[str, Priority] = {priority: priority for priority in WEIGHTS}


@dataclass(slots=True)
class Class:
    workload: str
    priority: Priority
    controller: Controller
    _taken: int = field(default=-1)

    def second(self, taken: int, seconds: float) -> int:
        """Its own share, from the bytes that it has had so far."""
        before, self._taken = self._taken, taken
        if not self.controller.most:
            return WHOLE
        rate = (taken - before) / seconds if 0 <= before <= taken else 0.0
        return self.controller.second(Sample(load=0.0, admitted=rate))


def classes(
    allowances: Iterable[Allowance], before: Iterable[Class] = ()
) -> tuple[tuple[Class, ...], int]:
    """In the order of their numbers, and how many there was no number for. One that was there and
    has the same rate goes on where it was."""
    known = {one.workload: one for one in before}
    found = {one.workload: _class(one, known.get(one.workload)) for one in allowances}
    return tuple(found.values())[:MOST], max(0, len(found) - MOST)


def _class(allowance: Allowance, before: Class | None) -> Class:
    most = float(allowance.kib_per_second << 10)
    if before is not None and before.controller.most == most:
        before.priority = allowance.priority
        return before
    return Class(allowance.workload, allowance.priority, Controller(most=most))


def numbers(found: Iterable[Class]) -> dict[str, int]:
    return {one.workload: number for number, one in enumerate(found, 1)}


def parse(text: str) -> Allowance:
    """`name=priority` or `name=priority:KiB`. Raises ValueError with the mend."""
    workload, _, rest = text.rpartition("=")
    word, _, rate = rest.partition(":")
    priority = _PRIORITIES.get(word)
    if not workload or priority is None or (rate and not rate.isdecimal()):
        raise ValueError(
            f"PLAINWIRE_CAPTURE_WORKLOADS: {text!r} is not NAME=low, normal or high, with :KIB "
            "a second if it has a rate of its own"
        )
    return Allowance(workload=workload, priority=priority, kib_per_second=int(rate or 0))
