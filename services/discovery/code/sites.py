"""Which probe sites to choose for a TLS library: by cost, with proof, for a whole family of calls.

The library is the one whose interface the file has. Either the internal function that all calls of
a family hand theirs on to (two traps serve them all) or each public function, whichever costs least
for its dearest call. What is not proven gets the fallback and its reason.
"""

from __future__ import annotations

from msgspec import Struct, structs

from services.discovery.code import bios, sharing
from services.discovery.code.calls import (
    CIPHERTEXT,
    INTERFACES,
    LIBCRYPTO,
    Call,
    Family,
    Interface,
    ObjectCall,
)
from services.discovery.code.probing import Probed, Prober, Returns, Unprobed, dearest
from services.discovery.code.sharing import Image, Internal, Member
from services.messages import Abi, Site, TlsFamily

Omitted = tuple[str, str]


class Choice(Struct, frozen=True):
    """`family` is None where the file has no TLS code that is known. `omitted`: functions without a
    probe, each with the reason."""

    sites: tuple[Site, ...] = ()
    omitted: tuple[Omitted, ...] = ()
    family: TlsFamily | None = None


def choose(image: Image, uretprobes: Returns = Returns.STILL) -> Choice:
    """All sites of a library; none where it lacks a call that every TLS program needs."""
    for interface in INTERFACES:
        if all(image.named(name) is not None for name in interface.needed):
            return _of_interface(Prober(image, uretprobes), interface)
    return Choice()


def _of_interface(prober: Prober, interface: Interface) -> Choice:
    found: list[Site] = []
    omitted = [(name, why) for name, why in interface.elsewhere if prober.image.named(name)]
    for family in interface.transfers:
        found += _of_family(prober, family, omitted)
    for call in interface.objects:
        found += _of_object(prober, call, omitted)
    if interface is LIBCRYPTO:
        found = _into_memory(prober) or found
    useful = _carries_data(found) or not interface.transfers
    sites = _once(found) if useful else ()
    return Choice(sites, tuple(omitted), interface.family)


def _into_memory(prober: Prober) -> list[Site]:
    """Cheaper than where everything is written, as what goes to a socket at once isn't seen."""
    call = CIPHERTEXT
    found = bios.writers(prober.image)
    return [prober.enter(Probed(call.operation, call.abi, name, body)) for name, body in found]


def _once(found: list[Site]) -> tuple[Site, ...]:
    """Calls that end in the same function share its RETs."""
    kept: dict[tuple[str, str, str, int], Site] = {}
    for site in found:
        kept.setdefault((site.operation, site.event, site.kind, site.address), site)
    return tuple(kept.values())


def _carries_data(found: list[Site]) -> bool:
    return {"read", "write"} <= {site.operation for site in found}


def _of_family(prober: Prober, family: Family, omitted: list[Omitted]) -> list[Site]:
    members = sharing.members(prober.image, family)
    chosen, without = _usual(prober, family, members)
    if without:
        chosen, without = _usual(structs.replace(prober, last_resort=True), family, members)
    omitted += without
    for call in family.alone:
        body = prober.image.named(call.function)
        if body is not None:
            chosen = chosen + _of_member(prober, family, Member(call, body), omitted)
    return chosen


def _usual(
    prober: Prober, family: Family, members: list[Member]
) -> tuple[list[Site], list[Omitted]]:
    """Of the calls that programs make all the time, and which of them are without."""
    without: list[Omitted] = []
    singly = [site for member in members for site in _of_member(prober, family, member, without)]
    shared, reason = _shared(prober, family, members)
    if shared and (without or dearest(shared) <= dearest(singly)):
        return shared, []
    return [_explained(site, reason) for site in singly] if reason else singly, without


def _shared(prober: Prober, family: Family, members: list[Member]) -> tuple[list[Site], str]:
    """The internal function's sites, or none and why, where one was to be expected."""
    internal = sharing.internal(prober.image, family, members)
    if isinstance(internal, str):
        return [], internal
    try:
        return prober.pair(_internal(family, internal)), ""
    except Unprobed as reason:
        return [], str(reason)


def _internal(family: Family, internal: Internal) -> Probed:
    names = "+".join(call.function for call in family.calls if call.always)
    return Probed(family.operation, internal.abi, f"{names} -> internal", internal.body)


def _of_member(
    prober: Prober, family: Family, member: Member, omitted: list[Omitted]
) -> list[Site]:
    call: Call = member.call
    try:
        return prober.pair(Probed(family.operation, call.abi, call.function, member.body))
    except Unprobed as reason:
        omitted.append((call.function, str(reason)))
        return []


def _explained(site: Site, reason: str) -> Site:
    if site.cost == "emulated":
        return site
    return structs.replace(site, fallback=f"{site.fallback}; no internal function: {reason}")


def _of_object(prober: Prober, call: ObjectCall, omitted: list[Omitted]) -> list[Site]:
    body = prober.image.named(call.function)
    if body is None:
        return []
    abi: Abi = "object_pointer" if call.event == "both" else call.abi
    probed = Probed(call.operation, abi, call.function, body)
    if call.event == "enter":
        return [prober.enter(probed)]
    try:
        return prober.pair(probed) if call.event == "both" else prober.exits(probed)
    except Unprobed as reason:
        omitted.append((call.function, str(reason)))
        return []
