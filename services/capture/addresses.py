"""Both ends of a connection as text, from what the kernel told. Pure.

An IPv4 address is written as such also where an IPv6 socket carries it, so that both ends of one
connection agree on it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from services.capture import layout

_IPV6 = 10


class Ends(NamedTuple):
    """`10.0.0.7:51234`, `[::1]:443`."""

    local: str
    peer: str


def read(packed: bytes) -> Ends:
    """Of a control event's own part."""
    local, peer, local_port, peer_port, family = layout.ADDRESSES.unpack_from(packed)
    return Ends(text(family, local, local_port), text(family, peer, peer_port))


def text(family: int, address: bytes, port: int) -> str:
    if family != _IPV6:
        return f"{IPv4Address(address[:4])}:{port}"
    found = IPv6Address(address[:16])
    return f"{found.ipv4_mapped}:{port}" if found.ipv4_mapped else f"[{found}]:{port}"
