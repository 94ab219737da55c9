"""The sites that see one function's calls begin and end, and what they cost.

An entry is an emulated instruction that provably sees the arguments, else the first byte. An exit
is an emulated instruction that provably sees the result, else every RET, where these are proven to
be all ways out, else a uretprobe. The kernel keeps the return addresses that a uretprobe replaced
by thread, last in first out: a program whose fibers switch within a probed call (in a BIO's
callback) jumps to another fiber's, and dies. So a call that can wait has one only as a last resort.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct, structs

from services.discovery.code import arm64, joining, placing
from services.discovery.code.calls import ARGUMENTS
from services.discovery.code.disassembly import Body, sweep
from services.discovery.code.elf import AARCH64, X86_64
from services.discovery.code.placing import Place
from services.discovery.code.sharing import Image
from services.messages import Abi, Operation, Site

# Microseconds on the test machine: a trap on an emulated or a single-stepped instruction, and what
# a uretprobe adds to the trap at its function's entry.
EMULATED: Final = 0.5
SINGLE_STEP: Final = 9.0
URETPROBE: Final = 0.4

_STILL = ("object", "object_pointer")  # calls that can't wait
_RETURN_ADDRESS = 8  # bytes: after a return the stack pointer is above its value at entry
UNSAFE_RETURNS = "no uretprobe on this kernel: it kills what runs under a strict seccomp filter"
FIBERS = "no uretprobe: it kills a program whose fibers switch within the call"


class Returns(Enum):
    """Where uretprobes may be: wherever they are cheap, only in calls that can't wait (and as a
    last resort), or nowhere."""

    ALWAYS = "always"
    STILL = "still"
    NEVER = "never"


class Probed(Struct, frozen=True):
    """A function to be probed, and how its call is to be read."""

    operation: Operation
    abi: Abi
    function: str  # what people are told
    body: Body


class Unprobed(Exception):
    """Why no safe site sees the function's result, for a user's eyes."""


class Prober(Struct, frozen=True):
    image: Image
    uretprobes: Returns = Returns.STILL
    last_resort: bool = False

    def pair(self, probed: Probed) -> list[Site]:
        """Raises Unprobed."""
        enter, leave = self.enter(probed), self.exits(probed)
        first = leave[0]
        dear_return = first.kind == "uretprobe" and first.cost == "single_step"
        if dear_return and enter.address != first.address:
            place = Place(first.address, 0, emulated=False, reason="the exit traps there anyway")
            return [self._site(probed, place), first]
        return [enter, *leave]

    def enter(self, probed: Probed) -> Site:
        return self._site(probed, self._entry(probed))

    def exits(self, probed: Probed) -> list[Site]:
        """One site, or one at each RET. Raises Unprobed."""
        found, returns = self._ways_out(joining.whole(probed.body, self.image))
        if isinstance(found, Place):
            return [self._exit_at(probed, found)]
        cheap_rets = self.image.machine == AARCH64 and isinstance(returns, tuple)
        still = probed.abi in _STILL and self.uretprobes is Returns.STILL
        if not cheap_rets and (still or self.uretprobes is Returns.ALWAYS):
            return [self._uretprobe(probed, found)]
        if isinstance(returns, tuple):
            return [self._exit_at(probed, self._at_ret(ip, found)) for ip in returns]
        if self.last_resort and self.uretprobes is Returns.STILL:
            return [self._uretprobe(probed, f"{returns}, so it can't be probed at its RETs")]
        raise Unprobed(f"{self._refusal()}, and {returns}")

    def _ways_out(self, body: Body) -> tuple[Place | str, tuple[int, ...] | str]:
        """The emulated place that sees every result, and the RETs, or why there are none."""
        if self.image.machine == AARCH64:
            returns = arm64.returns(body)
            return (returns if isinstance(returns, str) else "it has RETs"), returns
        if self.image.machine == X86_64:
            return placing.emulated_exit(sweep(body)), placing.returns(sweep(body))
        return "neither x86-64 nor arm64 code", "its RETs can't be read"

    def _refusal(self) -> str:
        return UNSAFE_RETURNS if self.uretprobes is Returns.NEVER else FIBERS

    def _at_ret(self, address: int, refusal: str) -> Place:
        """The stack pointer at a RET is what it was at the call's first byte."""
        if self.image.machine == AARCH64:
            return Place(address, 0, emulated=True)
        return Place(address, 0, emulated=False, reason=f"{refusal}; {self._refusal()}")

    def _entry(self, probed: Probed) -> Place:
        if self.image.machine != X86_64:
            reason = "only the first byte is known to see the arguments"
            return Place(probed.body.address, 0, emulated=False, reason=reason)
        return placing.entry(sweep(probed.body), ARGUMENTS[probed.abi], self.image.around)

    def _exit_at(self, probed: Probed, place: Place) -> Site:
        return structs.replace(self._site(probed, place), event="exit")

    def _site(self, probed: Probed, place: Place) -> Site:
        return Site(
            operation=probed.operation,
            event="enter",
            abi=probed.abi,
            function=probed.function,
            kind="uprobe",
            address=place.address,
            offset=self.image.offset(place.address),
            cost="emulated" if place.emulated else "single_step",
            fallback=place.reason,
            frame=place.frame,
        )

    def _uretprobe(self, probed: Probed, reason: str) -> Site:
        """It may sit wherever the return address is on top of the stack, so at an entry there."""
        place = self._entry(probed)
        cheap = place.emulated and place.frame == 0
        address = place.address if cheap else probed.body.address
        return Site(
            operation=probed.operation,
            event="exit",
            abi=probed.abi,
            function=probed.function,
            kind="uretprobe",
            address=address,
            offset=self.image.offset(address),
            cost="uretprobe" if cheap else "single_step",
            fallback=reason,
            frame=-_RETURN_ADDRESS if self.image.machine == X86_64 else 0,
        )


def dearest(sites: list[Site]) -> float:
    """What a call costs, in microseconds, of the function for which that is most."""
    functions = {site.function for site in sites}
    prices = [cost([site for site in sites if site.function == name]) for name in functions]
    return max(prices, default=0.0)


def cost(sites: list[Site]) -> float:
    """Probes at one address share the trap; a call passes one RET, whatever their number."""
    shared = [site for site in sites if site.event == "enter" or site.kind == "uretprobe"]
    traps = {site.address: _trap(site) for site in shared if site.kind == "uretprobe"}
    traps |= {site.address: _trap(site) for site in shared if site.kind == "uprobe"}
    last = [_trap(site) for site in sites if site not in shared]
    returns = sum(site.kind == "uretprobe" for site in sites)
    return sum(traps.values()) + max(last, default=0.0) + returns * URETPROBE


def _trap(site: Site) -> float:
    return SINGLE_STEP if site.cost == "single_step" else EMULATED
