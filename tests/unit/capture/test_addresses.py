"""Addresses as text: both families, and IPv4 within IPv6."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from services.capture import addresses, layout

V4, V6 = 2, 10


@pytest.mark.parametrize(
    ("family", "packed", "shown"),
    [
        (V4, bytes([10, 0, 0, 7]), "10.0.0.7:443"),
        (V6, IPv6Address("::1").packed, "[::1]:443"),
        (V6, IPv6Address("fd00::7:1").packed, "[fd00::7:1]:443"),
        (V6, IPv6Address("::ffff:10.0.0.7").packed, "10.0.0.7:443"),
    ],
)
def test_an_address_is_written_as_in_a_url(family: int, packed: bytes, shown: str) -> None:
    assert addresses.text(family, packed.ljust(16, b"\0"), 443) == shown


def test_both_ends_are_read_from_the_event() -> None:
    here, there = bytes([10, 0, 0, 7]), bytes([10, 0, 0, 9])
    packed = layout.ADDRESSES.pack(here, there, 51234, 443, V4).ljust(56, b"\0")
    assert addresses.read(packed) == ("10.0.0.7:51234", "10.0.0.9:443")
