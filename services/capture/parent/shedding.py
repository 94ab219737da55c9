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

HALF_FULL = 0.5  # of a stream's bytes: beyond it there is no waiting
SOME = 1 / 16  # below it a backlog is no danger, whatever its age
LATE = 5.0  # seconds of backlog that are nothing yet
SOON = 60.0  # seconds within which a backlog must be read: half of the age at which RAW expires
REMEMBERED = 180  # seconds

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
    """Of one stream behind capture: how full it is, how many seconds of input it holds, and how
    many of them are read in a second."""

    fill: float
    lag: float
    pace: float


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


def is_too_much(backlog: Backlog) -> bool:
    """It would be torn by its limits before it is read."""
    if backlog.fill >= HALF_FULL:
        return backlog.pace < 1
    late = backlog.fill >= SOME and backlog.lag >= LATE
    return late and 0 < backlog.pace < 1 and backlog.lag > SOON * backlog.pace


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
    _shares: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _torn: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=TORN_SECONDS))

    def second(self, sample: Sample) -> int:
        """The share to admit from now on."""
        self._second += 1
        self._loads.append(self._pressure(sample))
        self._torn.append((sample.torn, sample.seen))
        since = self._second - self.changed_at
        self._shares.append(self.share)
        bearable = self._bearable(sample)
        if bearable < self.share:
            self._move(max(FLOOR, bearable))
        elif since >= COOLDOWN and self._is_torn():
            self._torn.clear()
            self._move(max(FLOOR, self.share // 2))
        else:
            high, low = self._average(HIGH_SECONDS), self._average(LOW_SECONDS)
            self._move(thermostat(self.share, high, low, cooling=since < COOLDOWN))
        return self.share

    def _bearable(self, sample: Sample) -> int:
        """The share at which what comes in is what may, and what is read. What is read now was let
        in under the share of its time: so one answer is enough, however long it takes to show."""
        shares = [
            int(0.7 * backlog.pace * self._share_of(backlog.lag))
            for backlog in sample.backlogs
            if is_too_much(backlog)
        ]
        settled = self._second - self.changed_at >= SETTLING
        if settled and self.most and sample.admitted > self.most:
            shares.append(int(0.9 * self.share * self.most / sample.admitted))
        return min(shares, default=self.share)

    def _share_of(self, age: float) -> int:
        """So many seconds ago; the largest near that, as clocks and stages are in between."""
        at = max(0, len(self._shares) - 1 - int(age))
        return max(list(self._shares)[max(0, at - SETTLING) : at + SETTLING], default=self.share)

    def _pressure(self, sample: Sample) -> float:
        """The nearest limit, on the thermostat's scale: nothing may be raised close to any."""
        backlog = max((HIGH * b.fill / HALF_FULL for b in sample.backlogs), default=0.0)
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
