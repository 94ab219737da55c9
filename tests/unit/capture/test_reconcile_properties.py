"""apply(plan(desired, attached), attached) == desired, and a second plan is empty."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.capture.child import reconcile
from services.messages import FileIdentity, Site, Target


def _target(inode: int, offset: int) -> Target:
    site = Site(
        operation="write", event="exit", abi="length_pointer", function="SSL_write_ex",
        kind="uretprobe", address=offset, offset=offset, cost="uretprobe",
    )  # fmt: skip
    return Target(
        identity=FileIdentity(device=1, inode=inode, size=1, mtime_ns=1), path=f"/{offset}",
        name="libssl", family="openssl", library="openssl", sites=(site,),
    )  # fmt: skip


targets = st.lists(
    st.builds(_target, st.integers(1, 8), st.integers(1, 3)),
    unique_by=lambda target: target.identity.key(),
)


@given(targets, targets)
def test_the_plan_leads_to_what_is_desired(desired: list[Target], before: list[Target]) -> None:
    attached = {target.identity.key(): target for target in before}
    plan = reconcile.plan(desired, attached)
    for key in plan.detach:
        del attached[key]
    for target in plan.attach:
        assert target.identity.key() not in attached
        attached[target.identity.key()] = target
    assert attached == {target.identity.key(): target for target in desired}
    assert reconcile.plan(desired, attached) == reconcile.Plan((), ())
