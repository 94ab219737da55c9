"""Control events become openings, closings and tails; processes that end close what they had."""

from __future__ import annotations

from collections import defaultdict

from services.capture import connections, layout
from services.capture.connections import NAME_AGAIN_NS, Connections, News
from services.capture.layout import ControlKind, Counts
from services.messages import Container, Direction, Losses

COUNTS = layout.counts(10, 20, (1, 0, 0, 0, 0, 0, 2, 0, 0, 0))


def opened(
    connection: int, *, tgid: int = 7, mid: int = 0, process: bytes = b"curl", cgroup: int = 1
) -> bytes:
    rest = layout.OPENED.pack(3, process, cgroup).ljust(56, b"\0")
    return layout.CONTROL.pack(ControlKind.OPENED, mid, 2, tgid, connection, 100, 0xABC, rest)


def closed(connection: int, *, detail: int = 0) -> bytes:
    rest = layout.COUNTS.pack(10, 20, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0)
    return layout.CONTROL.pack(ControlKind.CLOSED, detail, 2, 0, connection, 200, 0xABC, rest)


def addressed(connection: int) -> bytes:
    ends = layout.ADDRESSES.pack(bytes([10, 0, 0, 7]), bytes([10, 0, 0, 9]), 51234, 443, 2)
    rest = ends.ljust(56, b"\0")
    return layout.CONTROL.pack(ControlKind.ADDRESSED, 0, 2, 7, connection, 0, 0xABC, rest)


def exited(tgid: int) -> bytes:
    return layout.CONTROL.pack(ControlKind.EXITED, 0, 0, tgid, 0, 0, 0, bytes(56))


def owner(tgid: int, cgroup: int) -> Container:
    return Container(id=f"container-{cgroup}" if cgroup > 1 else "")


def nothing(ssl: int, tgid: int) -> tuple[int, Counts] | None:
    return None


def receive(
    known: Connections, events: list[bytes], take: connections.Take = nothing
) -> dict[int, News]:
    news: dict[int, News] = defaultdict(News)
    known.receive(events, news, take, 300)
    return news


def test_an_opening_names_its_owner_and_its_library() -> None:
    known = Connections("node", owner)
    known.libraries[3] = "openssl 3.0.19"
    (found,) = receive(known, [opened(5, mid=1)])[2].opened
    assert found.connection == 5
    assert found.mid_connection
    assert found.first_boot_ns == 100
    source = found.source
    assert (source.namespace, source.workload, source.process) == ("host", "curl", "curl")
    assert (source.node, source.pid, source.tls) == ("node", 7, "openssl 3.0.19")


def test_an_opening_names_its_container_and_again_once_more_is_known_of_it() -> None:
    known = Connections("node", owner)
    events = [opened(5, cgroup=9), opened(6, cgroup=8), opened(7)]
    found = receive(known, events)[2].opened
    assert [o.source.container_id for o in found] == ["container-9", "container-8", ""]
    assert {(o.source.container, o.source.image) for o in found} == {("", "")}

    known.learn({"container-9": Container(id="container-9", name="web", image="nginx:1")})
    news: dict[int, News] = defaultdict(News)
    known.name_again(news, 400, 10)
    (again,) = news[2].opened
    assert (again.connection, again.source.container, again.source.image) == (5, "web", "nginx:1")
    known.learn({"container-9": Container(id="container-9", name="web", image="nginx:1")})
    known.name_again(news, 400, 10)
    assert len(news[2].opened) == 1


def test_addresses_that_come_with_the_opening_are_in_it() -> None:
    (found,) = receive(Connections("node", owner), [opened(5), addressed(5)])[2].opened
    assert (found.local, found.peer) == ("10.0.0.7:51234", "10.0.0.9:443")


def test_addresses_that_come_later_name_the_connection_again() -> None:
    known = Connections("node", owner)
    (first,) = receive(known, [opened(5), opened(6)])[2].opened[:1]
    (again,) = receive(known, [addressed(5)])[2].opened
    assert (first.local, first.peer) == (None, None)
    assert (again.connection, again.source, again.peer) == (5, first.source, "10.0.0.9:443")


def test_a_connection_that_is_named_again_keeps_its_addresses() -> None:
    known = Connections("node", owner)
    receive(known, [opened(5), addressed(5)])
    news: dict[int, News] = defaultdict(News)
    known.name_again(news, 300 + NAME_AGAIN_NS, 10)
    assert [found.peer for found in news[2].opened] == ["10.0.0.9:443"]


def test_addresses_of_one_that_is_closed_or_shed_are_no_news() -> None:
    known = Connections("node", owner)
    receive(known, [opened(5), closed(5), opened(6), closed(6, detail=2)])
    assert not receive(known, [addressed(5), addressed(6)])[2]


def test_no_pointer_leaves_the_node() -> None:
    (found,) = receive(Connections("node", owner), [opened(5)])[2].opened
    assert str(0xABC) not in repr(found)


def test_a_closing_carries_the_final_counts_of_both_directions() -> None:
    known = Connections("node", owner)
    (found,) = receive(known, [opened(5), closed(5)])[2].closed
    assert found.reason == "freed"
    assert (found.egress.offset, found.ingress.offset) == (10, 20)
    assert found.egress.lost == Losses(ring_full=1)
    assert found.ingress.lost == Losses(ring_refused=2)
    assert len(known) == 0


def test_a_connection_that_is_shed_closes_once_and_is_still_taken_at_the_process_s_end() -> None:
    known, taken = Connections("node", owner), []

    def take(ssl: int, tgid: int) -> tuple[int, Counts] | None:
        taken.append(ssl)
        return 5, COUNTS

    (found,) = receive(known, [opened(5), closed(5, detail=2)])[2].closed
    assert found.reason == "shed"
    assert known.shed() == {7: 1}
    assert not receive(known, [exited(7)], take)[2]
    assert taken == [0xABC]
    assert len(known) == 0


def test_a_connection_that_is_never_admitted_is_no_news() -> None:
    known = Connections("node", owner)
    assert not receive(known, [opened(5, mid=layout.OPENED_SHED)])[2]
    assert known.shed() == {7: 1}
    again: dict[int, News] = defaultdict(News)
    known.name_again(again, 300 + NAME_AGAIN_NS, 10)
    assert not again
    assert not receive(known, [closed(5)])[2]
    assert len(known) == 0


def test_a_reused_object_closes_as_reused() -> None:
    (found,) = receive(Connections("node", owner), [opened(5), closed(5, detail=1)])[2].closed
    assert found.reason == "reused"


def test_a_process_s_end_closes_what_it_still_had() -> None:
    known = Connections("node", owner)

    def take(ssl: int, tgid: int) -> tuple[int, Counts] | None:
        assert (ssl, tgid) == (0xABC, 7)
        return 5, COUNTS

    (found,) = receive(known, [opened(5), exited(7)], take)[2].closed
    assert (found.connection, found.reason, found.boot_ns) == (5, "exited", 300)
    assert found.ingress.offset == 20


def test_another_process_s_end_closes_nothing() -> None:
    known = Connections("node", owner)
    assert not receive(known, [opened(5), exited(8)])[2].closed
    assert len(known) == 1


def test_a_long_connection_is_named_again_once_it_is_due() -> None:
    known = Connections("node", owner)
    receive(known, [opened(5)])
    news: dict[int, News] = defaultdict(News)
    known.name_again(news, 300 + NAME_AGAIN_NS - 1, 10)
    assert not news[2].opened
    known.name_again(news, 300 + NAME_AGAIN_NS, 10)
    assert [found.connection for found in news[2].opened] == [5]
    again: dict[int, News] = defaultdict(News)
    known.name_again(again, 301 + NAME_AGAIN_NS, 10)
    assert not again[2].opened


def test_no_more_are_named_again_at_once_than_allowed() -> None:
    known = Connections("node", owner)
    receive(known, [opened(n) for n in range(1, 6)])
    news: dict[int, News] = defaultdict(News)
    known.name_again(news, 10 * NAME_AGAIN_NS, 3)
    assert len(news[2].opened) == 3


def test_a_tail_is_told_for_the_direction_that_lost() -> None:
    only_ingress = layout.counts(10, 20, (0, 0, 0, 0, 0, 4, 0, 0, 0, 0))
    (tail,) = connections.tails(5, only_ingress)
    assert tail.direction is Direction.INGRESS
    assert (tail.final.offset, tail.final.lost.ring_full) == (20, 4)
