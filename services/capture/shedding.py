"""How large a share of connections is admitted. Pure: samples in, shares out.

Two hands on one lever. The thermostat holds the CPU that capturing takes within its budget, slowly
and with hysteresis. What would tear messages if it went on (more bytes than are allowed, a bus that
fills faster than it is read) is answered at once, in proportion. Only the thermostat raises.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

# Shares are of WHOLE; a connection is admitted where its hash modulo WHOLE is below.
WHOLE = 16384
FLOOR = 64
HIGH, HIGH_SECONDS = 50.0, 10  # of the budget's scale: above it for so long, the share halves
LOW, LOW_SECONDS = 25.0, 30  # below it for so long, it doubles
COOLDOWN = 10  # seconds after a change
SETTLING = 3  # seconds that an answer to an excess has to show

MUCH = 0.25  # of RAW's size: below it a backlog is no danger
PATIENCE = 5.0  # seconds of backlog that are allowed at the pace at which it is read
TORN, TORN_SECONDS = 0.01, 60  # bytes lost in the rings: more than this share, for so long

Priority = Literal["low", "normal", "high"]
WEIGHTS: dict[Priority, float] = {"low": 0.25, "normal": 1.0, "high": 4.0}


@dataclass(frozen=True, slots=True)
class Sample:
    """One second. `load` is 50 where all that the budget allows is used up."""

    load: float
    seen: float = 0.0  # bytes a second that the programs saw
    torn: float = 0.0  # of these, refused by the rings
    admitted: float = 0.0  # bytes a second that left the kernel
    backlogs: tuple[Backlog, ...] = ()


@dataclass(frozen=True, slots=True)
class Backlog:
    """Of one stream behind capture: what lies in it, and its messages' pace in and out."""

    fill: float
    messages: int
    into: float
    out: float


@dataclass(frozen=True, slots=True)
class Average:
    mean: float
    samples: int


def thermostat(share: int, high: Average, low: Average, *, cooling: bool) -> int:
    """The next share: spec facts 2.1.8, moved from a record's bytes to a share of connections."""
    if cooling:
        return share
    if high.samples >= HIGH_SECONDS and high.mean > HIGH:
        return max(share // 2, FLOOR)
    if low.samples >= LOW_SECONDS and low.mean < LOW:
        return min(share * 2, WHOLE)
    return share


def excess(sample: Sample, most: float) -> float:
    """The factor by which less must come in, at most 1. `most` are bytes a second, 0 for any."""
    factors = [backlog_factor(backlog) for backlog in sample.backlogs]
    if most and sample.admitted > most:
        factors.append(0.9 * most / sample.admitted)
    return min(factors, default=1.0)


def backlog_factor(backlog: Backlog) -> float:
    """Where it grows and takes too long to be read, what comes in is cut below what goes out."""
    if backlog.fill < MUCH or backlog.messages <= PATIENCE * backlog.out:
        return 1.0
    if backlog.into <= backlog.out:
        return 1.0
    return max(0.1, 0.7 * backlog.out / backlog.into)


@dataclass(slots=True)
class Controller:
    """Of the whole node, or of one class of workloads with a rate of its own."""

    most: float = 0.0  # bytes a second, 0 for any
    share: int = WHOLE
    changed_at: int = -COOLDOWN  # the second of the last change
    lowered: int = 0
    raised: int = 0
    _second: int = 0
    _loads: deque[float] = field(default_factory=lambda: deque(maxlen=LOW_SECONDS))
    _torn: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=TORN_SECONDS))

    def second(self, sample: Sample) -> int:
        """The share to admit from now on."""
        self._second += 1
        self._loads.append(self._pressure(sample))
        self._torn.append((sample.torn, sample.seen))
        since = self._second - self.changed_at
        factor = excess(sample, self.most)
        if factor < 1 and since >= SETTLING:
            self._move(max(FLOOR, int(self.share * factor)))
        elif since >= COOLDOWN and self._is_torn():
            self._torn.clear()
            self._move(max(FLOOR, self.share // 2))
        else:
            high, low = self._average(HIGH_SECONDS), self._average(LOW_SECONDS)
            self._move(thermostat(self.share, high, low, cooling=since < COOLDOWN))
        return self.share

    def _pressure(self, sample: Sample) -> float:
        """The nearest limit, on the thermostat's scale: nothing may be raised close to any."""
        backlog = max((HIGH * b.fill / MUCH / 2 for b in sample.backlogs), default=0.0)
        rate = HIGH * sample.admitted / self.most if self.most else 0.0
        return max(sample.load, min(backlog, HIGH), min(rate, HIGH))

    def _is_torn(self) -> bool:
        torn, seen = (sum(values) for values in zip(*self._torn, strict=True))
        return bool(torn > TORN * seen)

    def _average(self, seconds: int) -> Average:
        last = list(self._loads)[-seconds:]
        return Average(sum(last) / max(1, len(last)), len(last))

    def _move(self, share: int) -> None:
        if share == self.share:
            return
        self.lowered += share < self.share
        self.raised += share > self.share
        self.share, self.changed_at = share, self._second


def of_class(share: int, own: int, priority: Priority) -> int:
    """What a class of workloads gets of the node's share, bounded by its own. Where nothing has to
    be shed, no class is."""
    weighted = WHOLE if share >= WHOLE else max(FLOOR, int(share * WEIGHTS[priority]))
    return min(own, WHOLE, weighted)
