"""What is attached becomes what is wanted."""

from __future__ import annotations

from services.capture.child import reconcile
from services.messages import FileIdentity, Site, Target


def target(inode: int, *, offset: int = 1, path: str = "/lib/libssl.so.3") -> Target:
    site = Site(
        operation="read", event="enter", abi="returns_length", function="SSL_read", kind="uprobe",
        address=offset, offset=offset, cost="emulated",
    )  # fmt: skip
    identity = FileIdentity(device=1, inode=inode, size=1, mtime_ns=1)
    return Target(
        identity=identity, path=path, name="libssl", family="openssl", library="openssl 3.0",
        sites=(site,),
    )  # fmt: skip


def test_a_new_target_is_attached_and_a_gone_one_detached() -> None:
    old, new = target(1), target(2)
    plan = reconcile.plan([new], {old.identity.key(): old})
    assert plan.detach == (old.identity.key(),)
    assert plan.attach == (new,)


def test_changed_sites_are_detached_and_attached_again() -> None:
    old, new = target(1), target(1, offset=2)
    plan = reconcile.plan([new], {old.identity.key(): old})
    assert plan.detach == (old.identity.key(),)
    assert plan.attach == (new,)


def test_another_path_to_the_same_file_changes_nothing() -> None:
    old, new = target(1), target(1, path="/proc/7/root/lib/libssl.so.3")
    plan = reconcile.plan([new], {old.identity.key(): old})
    assert not plan.detach
    assert not plan.attach
