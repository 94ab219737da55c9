"""What is read from services' answers: ledgers, positions, whether all targets are attached."""

from __future__ import annotations

import msgspec

from services.cli.asking import join, reached, read_stats
from services.cli.attaching import missing
from services.messages import Coverage, FileIdentity, Position, ServiceLedger, Target, Targets

POSITION = Position(node="n", shard=0, epoch=2, counter=10)


def at(epoch: int, counter: int) -> list[Position]:
    return [Position(node="n", shard=0, epoch=epoch, counter=counter)]


def test_a_goal_is_reached_by_counter_and_then_epoch() -> None:
    assert reached(at(2, 10), [POSITION])
    assert reached(at(3, 1), [POSITION])
    assert not reached(at(2, 9), [POSITION])
    assert not reached(at(1, 99), [POSITION])
    assert not reached([], [POSITION])
    assert reached([], [])


def test_what_replicas_have_folded_adds_up() -> None:
    other = Position(node="n", shard=1, epoch=2, counter=5)
    joined: dict[tuple[str, int], Position] = {}
    goal = [POSITION, other]
    for told in ([POSITION], at(2, 3)):  # the shard's next owner begins a little behind
        join(joined, told)
        assert not reached(joined.values(), goal)
    join(joined, [other])
    assert reached(joined.values(), goal)


def test_a_ledger_is_read_from_micro_stats() -> None:
    ledger = ServiceLedger(service="parse", node="n")
    stats = {"name": "plainwire-parse", "endpoints": [{"name": "a"}, {"data": ledger}]}
    assert read_stats(msgspec.json.encode(stats)) == ledger


def test_other_services_and_nonsense_have_no_ledger() -> None:
    assert read_stats(b"nonsense") is None
    assert read_stats(b'{"name":"other","endpoints":[]}') is None
    assert read_stats(b'{"name":"plainwire-parse"}') is None
    assert read_stats(b'{"name":"plainwire-parse","endpoints":[{"data":5}]}') is None


def target(inode: int) -> Target:
    identity = FileIdentity(device=1, inode=inode, size=1, mtime_ns=1)
    return Target(
        identity=identity, path=f"/p{inode}", name=f"/n{inode}", family="openssl",
        library="openssl 3", sites=(),
    )  # fmt: skip


def test_a_target_is_missing_until_it_is_attached_or_given_up() -> None:
    wanted = Targets(node="n", time_ns=1, targets=(target(1), target(2)))
    none = Coverage(node="n", time_ns=1, epoch=1, attached=(), processes=())
    assert missing(wanted, none) == {"/n1", "/n2"}
    one = msgspec.structs.replace(none, attached=(target(1),))
    assert missing(wanted, one) == {"/n2"}
    for name in ("/n2", "/p2", "1-2"):
        assert missing(wanted, msgspec.structs.replace(one, failed=((name, "why"),))) == set()
