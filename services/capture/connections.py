"""Which connections live, and what the control ring says of them. Pure: events in, news out.

Knows sources and shards; the kernel's TLS object pointers stay here and never leave the node.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from services.capture import addresses, layout
from services.capture.addresses import Ends
from services.capture.layout import ControlKind, Counts
from services.messages import Closed, Container, Direction, Final, Opened, Source, Tail

# A long connection is named again before its first naming ages out of the stream (120 s).
NAME_AGAIN_NS = 30 * 10**9
MAX_USERS = 1024


@dataclass(slots=True)
class Connection:
    opened: Opened
    shard: int
    ssl: int
    tgid: int
    named_at: int
    shed: bool = False  # to whoever reads it is closed, or never was; the kernel still has it


@dataclass(slots=True)
class News:
    """What the next batch of a shard has to say."""

    opened: list[Opened] = field(default_factory=list)
    closed: list[Closed] = field(default_factory=list)
    tails: list[Tail] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.opened or self.closed or self.tails)


# (connection, counts) of an entry that is taken out of the kernel, or None where there is none.
Take = Callable[[int, int], tuple[int, Counts] | None]

# Of a process and its cgroup the container; one with an empty id where it is in none.
Owner = Callable[[int, int], Container]


class Connections:
    def __init__(self, node: str, owner: Owner) -> None:
        self._node, self._owner = node, owner
        self._live: dict[int, Connection] = {}
        self._of_process: dict[int, set[int]] = defaultdict(set)
        self.libraries: dict[int, str] = {}  # by the target's number

    def __len__(self) -> int:
        return len(self._live)

    def receive(self, events: Iterable[bytes], news: dict[int, News], take: Take, now: int) -> None:
        """Applies control events in their order."""
        for event in events:
            kind, detail, shard, tgid, connection, boot_ns, ssl, rest = layout.CONTROL.unpack(event)
            match kind:
                case ControlKind.OPENED:
                    target, process, cgroup = layout.OPENED.unpack_from(rest)
                    source = self._source(tgid, process, target, self._owner(tgid, cgroup))
                    opened = Opened(
                        connection=connection, source=source, first_boot_ns=boot_ns,
                        mid_connection=bool(detail & layout.OPENED_MID_CONNECTION),
                    )  # fmt: skip
                    shed = bool(detail & layout.OPENED_SHED)
                    self._open(Connection(opened, shard, ssl, tgid, now, shed), news)
                case ControlKind.ADDRESSED:
                    self._address(connection, addresses.read(rest), news)
                case ControlKind.CLOSED:
                    egress, ingress, *lost = layout.COUNTS.unpack(rest)
                    counts = layout.counts(egress, ingress, tuple(lost))
                    why = layout.CLOSE_REASONS[detail]
                    if self._is_news(connection, why):
                        news[shard].closed.append(closed(connection, boot_ns, counts, why))
                case ControlKind.EXITED:
                    self._exit(tgid, news, take, now)

    def name_again(self, news: dict[int, News], now: int, limit: int) -> None:
        """Those that have not been named for a while, at most `limit` a shard."""
        due = now - NAME_AGAIN_NS
        for connection in self._live.values():
            if connection.named_at > due or connection.shed:
                continue
            pending = news[connection.shard].opened
            if len(pending) < limit:
                connection.named_at = now
                pending.append(connection.opened)

    def learn(self, containers: Mapping[str, Container]) -> None:
        """Those whose container is known better now are named again, in turn."""
        for connection in self._live.values():
            owner = containers.get(connection.opened.source.container_id)
            source = _owned(connection.opened.source, owner) if owner else None
            if source is not None and source != connection.opened.source:
                connection.opened = msgspec.structs.replace(connection.opened, source=source)
                connection.named_at = -NAME_AGAIN_NS

    def _source(self, tgid: int, process: bytes, target: int, owner: Container) -> Source:
        name = process.partition(b"\0")[0].decode(errors="replace")
        source = Source(
            node=self._node, namespace="host", workload=name, pid=tgid, process=name,
            tls=self.libraries.get(target, ""),
        )  # fmt: skip
        return _owned(source, owner)

    def _open(self, connection: Connection, news: dict[int, News]) -> None:
        self._live[connection.opened.connection] = connection
        self._of_process[connection.tgid].add(connection.opened.connection)
        if not connection.shed:
            news[connection.shard].opened.append(connection.opened)

    def _address(self, identity: int, ends: Ends, news: dict[int, News]) -> None:
        """The connection is named again, or for the first time with its addresses."""
        connection = self._live.get(identity)
        if connection is None:
            return
        opened = msgspec.structs.replace(connection.opened, local=ends.local, peer=ends.peer)
        connection.opened = opened
        if connection.shed:
            return
        pending = news[connection.shard].opened
        if pending and pending[-1].connection == identity:
            pending.pop()
        pending.append(opened)

    def _is_news(self, identity: int, why: str) -> bool:
        """Of a connection that is shed nobody needs to hear twice that it ended."""
        connection = self._live.get(identity)
        if why == "shed" and connection is not None:
            connection.shed = True
            return True
        self._forget(identity)
        return connection is None or not connection.shed

    def shed(self) -> dict[int, int]:
        """How many living connections are shed, by process."""
        return Counter(c.tgid for c in self._live.values() if c.shed)

    def users(self) -> dict[int, tuple[str, str]]:
        """Processes that have living connections: name and library, of one of them."""
        owners = list(self._of_process.items())[:MAX_USERS]
        sources = {tgid: self._live[next(iter(own))].opened.source for tgid, own in owners if own}
        return {tgid: (source.process, source.tls) for tgid, source in sources.items()}

    def _forget(self, identity: int) -> None:
        connection = self._live.pop(identity, None)
        if connection is None:
            return
        siblings = self._of_process[connection.tgid]
        siblings.discard(identity)
        if not siblings:
            del self._of_process[connection.tgid]

    def _exit(self, tgid: int, news: dict[int, News], take: Take, now: int) -> None:
        """The process is gone: its entries are taken out of the kernel with their final counts."""
        for identity in self._of_process.pop(tgid, set()):
            connection = self._live.pop(identity)
            entry = take(connection.ssl, tgid)
            if entry is not None and entry[0] == identity and not connection.shed:
                news[connection.shard].closed.append(closed(identity, now, entry[1], "exited"))


def _owned(source: Source, owner: Container) -> Source:
    return msgspec.structs.replace(
        source, container_id=owner.id, container=owner.name, image=owner.image
    )


def closed(connection: int, boot_ns: int, counts: Counts, reason: str) -> Closed:
    return Closed(
        connection=connection, boot_ns=boot_ns,
        egress=Final(offset=counts.egress, lost=counts.egress_lost),
        ingress=Final(offset=counts.ingress, lost=counts.ingress_lost),
        reason=reason,  # type: ignore[arg-type]
    )  # fmt: skip


def tails(connection: int, counts: Counts) -> list[Tail]:
    """Of the directions that have lost something."""
    both = (
        (Direction.EGRESS, Final(offset=counts.egress, lost=counts.egress_lost)),
        (Direction.INGRESS, Final(offset=counts.ingress, lost=counts.ingress_lost)),
    )
    return [
        Tail(connection=connection, direction=direction, final=final)
        for direction, final in both
        if final.lost.total()
    ]
