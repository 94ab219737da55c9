"""`plainwire coverage --sites`: the choice of probe sites as people read it."""

from __future__ import annotations

from services.cli.sites import sites_lines
from services.messages import Coverage, FileIdentity, Site, Target


def test_each_site_has_its_place_its_cost_and_why_it_is_not_cheaper() -> None:
    entry = Site(
        operation="read", event="enter", abi="returns_length", function="SSL_read",
        kind="uprobe", address=0x1234, offset=0x234, cost="emulated",
    )  # fmt: skip
    leaving = Site(
        operation="read", event="exit", abi="returns_length", function="SSL_read", kind="uprobe",
        address=0x1250, offset=0x250, cost="single_step", fallback="it ends\x1b too soon",
    )  # fmt: skip
    target = Target(
        identity=FileIdentity(device=1, inode=2, size=3, mtime_ns=4), path="/lib/libssl.so.3",
        name="/lib/libssl.so.3", family="openssl", library="openssl 3.0.19",
        sites=(entry, leaving), omitted=(("SSL_new", "it leaves by an indirect jump"),),
    )  # fmt: skip
    coverage = Coverage(node="n", time_ns=0, epoch=1, attached=(target,), processes=())
    assert list(sites_lines(coverage)) == [
        "n /lib/libssl.so.3 (openssl 3.0.19)",
        "  SSL_read enter at 0x1234 uprobe (emulated, cheap)",
        "  SSL_read exit at 0x1250 uprobe (single-stepped, dear): it ends\\x1b too soon",
        "  SSL_new not probed: it leaves by an indirect jump",
    ]
