"""Which probe sites to choose for a TLS library: by cost, with proof, for a whole family of calls.

Order of choice: the internal function that all calls of a family hand theirs on to (two traps serve
them all), then each public function. In a function: an emulated instruction that provably sees the
arguments or the result, then a uretprobe. What is not proven gets the fallback and its reason.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, structs

from services.discovery import placing, sharing
from services.discovery.calls import (
    ARGUMENTS,
    NEEDED,
    OBJECTS,
    READS,
    WRITES,
    Abi,
    Family,
    ObjectCall,
)
from services.discovery.disassembly import Body, sweep
from services.discovery.elf import X86_64
from services.discovery.placing import Place
from services.discovery.sharing import Image
from services.messages import Operation, Site

# Microseconds on the test machine: a trap on an emulated or a single-stepped instruction, and what
# a uretprobe adds to the trap at its function's entry.
EMULATED: Final = 0.5
SINGLE_STEP: Final = 9.0
URETPROBE: Final = 0.4

_RETURN_ADDRESS = 8  # bytes: after a return the stack pointer is above its value at entry


class Probed(Struct, frozen=True):
    """A function to be probed, and how its call is to be read."""

    operation: Operation
    abi: Abi
    function: str  # what people are told
    body: Body


def choose(image: Image) -> tuple[Site, ...]:
    """All sites of a library; empty where it lacks a call that every TLS program needs."""
    if any(image.named(name) is None for name in NEEDED):
        return ()
    found = [site for family in (READS, WRITES) for site in _of_family(image, family)]
    for call in OBJECTS:
        found += _of_object(image, call)
    return tuple(found)


def _of_family(image: Image, family: Family) -> list[Site]:
    singly = [
        site
        for call in family.calls
        if (body := image.named(call.function)) is not None
        for site in _pair(image, Probed(family.operation, call.abi, call.function, body))
    ]
    shared = sharing.internal(image, family)
    if isinstance(shared, str):
        return [_explained(site, shared) for site in singly]
    names = "+".join(call.function for call in family.calls)
    together = Probed(family.operation, "length_pointer", f"{names} -> internal", shared)
    return min(_pair(image, together), singly, key=dearest)


def _explained(site: Site, reason: str) -> Site:
    if site.cost == "emulated" or not reason:
        return site
    return structs.replace(site, fallback=f"{site.fallback}; no internal function: {reason}")


def _of_object(image: Image, call: ObjectCall) -> list[Site]:
    body = image.named(call.function)
    if body is None:
        return []
    probed = Probed(call.operation, "object", call.function, body)
    return [_enter(image, probed) if call.event == "enter" else _exit(image, probed)]


def dearest(sites: list[Site]) -> float:
    """What a call costs, in microseconds, of the function for which that is most."""
    functions = {site.function for site in sites}
    return max(cost([site for site in sites if site.function == name]) for name in functions)


def cost(sites: list[Site]) -> float:
    """Probes at one address share the trap."""
    traps = {site.address: site for site in sites if site.kind == "uretprobe"}
    traps |= {site.address: site for site in sites if site.kind == "uprobe"}
    dear = sum(site.cost == "single_step" for site in traps.values())
    returns = sum(site.kind == "uretprobe" for site in sites)
    return dear * SINGLE_STEP + (len(traps) - dear) * EMULATED + returns * URETPROBE


def _pair(image: Image, probed: Probed) -> list[Site]:
    enter, leave = _enter(image, probed), _exit(image, probed)
    if leave.kind == "uretprobe" and leave.cost == "single_step" and enter.address != leave.address:
        first = Place(leave.address, 0, emulated=False, reason="the exit traps there anyway")
        return [_site(image, probed, first), leave]
    return [enter, leave]


def _enter(image: Image, probed: Probed) -> Site:
    return _site(image, probed, _entry(image, probed))


def _entry(image: Image, probed: Probed) -> Place:
    if image.machine != X86_64:
        return Place(probed.body.address, 0, emulated=False, reason="not an x86-64 file")
    return placing.entry(sweep(probed.body), ARGUMENTS[probed.abi], image.around)


def _exit(image: Image, probed: Probed) -> Site:
    found: Place | str = "not an x86-64 file"
    if image.machine == X86_64:
        found = placing.emulated_exit(sweep(probed.body))
    if isinstance(found, str):
        return _uretprobe(image, probed, found)
    return structs.replace(_site(image, probed, found), event="exit")


def _site(image: Image, probed: Probed, place: Place) -> Site:
    return Site(
        operation=probed.operation,
        event="enter",
        abi=probed.abi,
        function=probed.function,
        kind="uprobe",
        address=place.address,
        offset=image.offset(place.address),
        cost="emulated" if place.emulated else "single_step",
        fallback=place.reason,
        frame=place.frame,
    )


def _uretprobe(image: Image, probed: Probed, reason: str) -> Site:
    """It may sit wherever the return address is on top of the stack, so at an entry site there."""
    place = _entry(image, probed)
    cheap = place.emulated and place.frame == 0
    address = place.address if cheap else probed.body.address
    return Site(
        operation=probed.operation,
        event="exit",
        abi=probed.abi,
        function=probed.function,
        kind="uretprobe",
        address=address,
        offset=image.offset(address),
        cost="uretprobe" if cheap else "single_step",
        fallback=reason,
        frame=-_RETURN_ADDRESS,
    )
