"""Which probe sites to choose for a TLS library: by cost, with proof, for a whole family of calls.

Order of choice: the internal function that all calls of a family hand theirs on to (two traps serve
them all), then each public function. In a function: an emulated instruction that provably sees the
arguments or the result, then a uretprobe. Costs are facts of the kernel, measured: an emulated
instruction 0.5 us, a single-stepped one 9 us. What is not proven gets the fallback and its reason.
"""

from __future__ import annotations

from typing import Literal, Protocol

from iced_x86 import FlowControl
from msgspec import Struct

from services.discovery import forwarding, placing
from services.discovery.disassembly import Body, Listing
from services.discovery.elf import X86_64
from services.messages import Operation, Site

Abi = Literal["returns_length", "length_pointer", "object"]

COST = {"emulated": 0.5, "uretprobe": 0.8, "single_step": 9.0}  # us, on the test machine
MAX_CANDIDATES = 16


class Call(Struct, frozen=True):
    function: str
    abi: Abi


class Family(Struct, frozen=True):
    operation: Operation
    calls: tuple[Call, ...]
    others: tuple[str, ...] = ()  # calls that must not reach the same internal function


READS = Family(
    "read",
    (Call("SSL_read", "returns_length"), Call("SSL_read_ex", "length_pointer")),
    others=("SSL_peek", "SSL_peek_ex", "SSL_write"),
)
WRITES = Family(
    "write",
    (Call("SSL_write", "returns_length"), Call("SSL_write_ex", "length_pointer")),
    others=("SSL_peek", "SSL_read"),
)
OBJECTS: tuple[tuple[Operation, Literal["enter", "exit"], str], ...] = (
    ("new", "exit", "SSL_new"),
    ("clear", "enter", "SSL_clear"),
    ("free", "enter", "SSL_free"),
)
ARGUMENTS: dict[Abi, int] = {"returns_length": 3, "length_pointer": 4, "object": 1}
NEEDED = ("SSL_read", "SSL_write")
NAMES = frozenset(
    {c.function for f in (READS, WRITES) for c in f.calls}
    | {name for f in (READS, WRITES) for name in f.others}
    | {function for _, _, function in OBJECTS}
)


class Image(Protocol):
    """What the choice asks of a file."""

    machine: int

    def named(self, function: str) -> Body | None: ...
    def begins_at(self, address: int) -> Body | None: ...
    def offset(self, address: int) -> int: ...


def choose(image: Image) -> tuple[Site, ...]:
    """All sites of a library; empty where it lacks a call that every TLS program needs."""
    if any(image.named(name) is None for name in NEEDED):
        return ()
    sites = [site for family in (READS, WRITES) for site in _of_family(image, family)]
    for operation, event, function in OBJECTS:
        if (body := image.named(function)) is not None:
            probe = Probe(operation, "object", function, body)
            sites.append(_enter(image, probe) if event == "enter" else _exit(image, probe))
    return tuple(sites)


class Probe(Struct, frozen=True):
    operation: Operation
    abi: Abi
    function: str
    body: Body


def _of_family(image: Image, family: Family) -> list[Site]:
    singly = [
        site
        for call in family.calls
        if (body := image.named(call.function)) is not None
        for site in _pair(image, Probe(family.operation, call.abi, call.function, body))
    ]
    found = internal(image, family)
    if isinstance(found, str):
        return [_explained(site, found) for site in singly]
    names = "+".join(call.function for call in family.calls)
    probe = Probe(family.operation, "length_pointer", f"{names} -> internal", found)
    together = _pair(image, probe)
    return min(together, singly, key=_worst)


def _explained(site: Site, reason: str) -> Site:
    if site.cost == "emulated" or not reason:
        return site
    return _with_fallback(site, f"{site.fallback}; no internal function: {reason}")


def _with_fallback(site: Site, fallback: str) -> Site:
    return Site(**{f: getattr(site, f) for f in site.__struct_fields__} | {"fallback": fallback})


def _worst(sites: list[Site]) -> float:
    """What the dearest call of a family pays: entry and exit."""
    by_function: dict[str, float] = {}
    for site in sites:
        by_function[site.function] = by_function.get(site.function, 0) + COST[site.cost]
    return max(by_function.values())


def internal(image: Image, family: Family) -> Body | str:
    """The function that all calls of the family provably hand theirs on to, or why there's none."""
    bodies = [image.named(call.function) for call in family.calls]
    if image.machine != X86_64 or None in bodies or len(bodies) < 2:
        return ""
    wrappers = [
        (b, c.abi == "length_pointer") for b, c in zip(bodies, family.calls, strict=True) if b
    ]
    shared = set.intersection(*(_called(body) for body, _ in wrappers))
    foreign = {t for name in family.others if (b := image.named(name)) for t in _called(b)}
    reason = "they share no call"
    for target in sorted(shared - foreign)[:MAX_CANDIDATES]:
        reason = _unproven(wrappers, target)
        if not reason:
            return image.begins_at(target) or "no function begins where they call"
    return reason


def _unproven(wrappers: list[tuple[Body, bool]], target: int) -> str:
    for body, pointer_passed in wrappers:
        try:
            forwarding.prove(body, target, pointer_passed=pointer_passed)
        except forwarding.Unproven as reason:
            return f"{body.name}: {reason}"
    return ""


def _called(body: Body) -> set[int]:
    listing = Listing(body)
    calls = {
        i.near_branch_target
        for i in listing.instructions.values()
        if i.flow_control == FlowControl.CALL
    }
    return calls | {t for step in listing.steps.values() for t in step.outside}


def _pair(image: Image, probe: Probe) -> list[Site]:
    return [_enter(image, probe), _exit(image, probe)]


def _enter(image: Image, probe: Probe) -> Site:
    place = _entry(image, probe)
    return _site(image, probe, place, "enter")


def _entry(image: Image, probe: Probe) -> placing.Place:
    if image.machine != X86_64:
        start = probe.body.address
        return placing.Place(start, 0, emulated=False, fallback="not an x86-64 file")
    return placing.entry(Listing(probe.body), ARGUMENTS[probe.abi])


def _exit(image: Image, probe: Probe) -> Site:
    reason: placing.Place | str = "not an x86-64 file"
    if image.machine == X86_64:
        reason = placing.emulated_exit(Listing(probe.body))
    if isinstance(reason, placing.Place):
        return _site(image, probe, reason, "exit")
    return _uretprobe(image, probe, reason)


def _site(
    image: Image, probe: Probe, place: placing.Place, event: Literal["enter", "exit"]
) -> Site:
    return Site(
        operation=probe.operation,
        event=event,
        abi=probe.abi,
        function=probe.function,
        kind="uprobe",
        address=place.address,
        offset=image.offset(place.address),
        cost="emulated" if place.emulated else "single_step",
        fallback=place.fallback,
    )


def _uretprobe(image: Image, probe: Probe, reason: str) -> Site:
    """It may sit wherever the return address is on top of the stack: at the entry site if there."""
    place = _entry(image, probe)
    at_top = place.emulated and place.frame == 0
    address = place.address if at_top else probe.body.address
    return Site(
        operation=probe.operation,
        event="exit",
        abi=probe.abi,
        function=probe.function,
        kind="uretprobe",
        address=address,
        offset=image.offset(address),
        cost="uretprobe" if at_top else "single_step",
        fallback=reason,
    )
