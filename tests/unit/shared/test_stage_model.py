"""Replicas that die between any two awaits, stand still, come and go, with folds that raise: what
they publish is what one undisturbed replica publishes of the same input, each id once, and the
ledger is the same.

The stage, its leases and its snapshots are the real ones, on a bus in memory (fake_bus.py), with
parse and collect as what is folded. Not here: losses of the bus itself.
"""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services import records
from services.messages import RawHead
from services.records import Record
from tests.support import simulation
from tests.support.simulation import BUGS, KINDS, SHARDS, Simulation
from tests.support.wire import EGRESS, INGRESS, Kernel

GET = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CONNECTIONS = 7
kinds = st.sampled_from(sorted(KINDS))


class Replicas(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.simulation = Simulation()
        self.kernels = [Kernel() for _ in range(SHARDS)]
        self.requests = itertools.count()
        self.named: set[int] = set()
        self.generation = 0  # ids are unique in time and space
        for kind in KINDS:
            self.simulation.start(kind)

    # --- traffic --------------------------------------------------------------------------------

    def batch(self, shard: int, found: list[Record], **told: object) -> None:
        kernel = self.kernels[shard]
        kernel.now += 1_000_000
        new = {r.connection for r in found} - self.named
        self.named |= new
        opened = tuple(kernel.opened(connection) for connection in sorted(new))
        head = kernel.head(shard=shard, opened=opened, **told)
        self.publish(head, [records.encode_record(record, shard) for record in found])

    def id_of(self, shard: int, connection: int) -> int:
        return (self.generation * SHARDS + shard) * 1000 + connection

    def publish(self, head: RawHead, data: list[bytes]) -> None:
        self.simulation.publish(head, data)

    @rule(
        shard=st.integers(0, SHARDS - 1),
        connection=st.integers(1, CONNECTIONS),
        cut=st.integers(1, 20),
        answered=st.booleans(),
    )
    def exchange(self, shard: int, connection: int, cut: int, answered: bool) -> None:
        """In two batches, so that there is always something half read."""
        kernel, request = self.kernels[shard], GET % next(self.requests)
        connection = self.id_of(shard, connection)
        first = kernel.record(EGRESS, request[:cut], connection)
        rest = [kernel.record(EGRESS, request[cut:], connection)]
        rest += [kernel.record(INGRESS, ANSWER, connection)] if answered else []
        self.batch(shard, [first])
        self.batch(shard, rest)

    @rule(shard=st.integers(0, SHARDS - 1), connection=st.integers(1, CONNECTIONS))
    def loss(self, shard: int, connection: int) -> None:
        self.kernels[shard].lose(EGRESS, 11, self.id_of(shard, connection))
        self.exchange(shard, connection, 3, True)

    @rule(shard=st.integers(0, SHARDS - 1), connection=st.integers(1, CONNECTIONS), kind=kinds)
    def bug(self, shard: int, connection: int, kind: str) -> None:
        """A message on which parse, or collect, raises."""
        kernel, connection = self.kernels[shard], self.id_of(shard, connection)
        request = b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n" % BUGS[kind]
        found = [kernel.record(EGRESS, request, connection)]
        self.batch(shard, [*found, kernel.record(INGRESS, ANSWER, connection)])

    @rule(shard=st.integers(0, SHARDS - 1), connection=st.integers(1, CONNECTIONS))
    def lost_batch(self, shard: int, connection: int) -> None:
        """It never reaches the bus, and capture holds it no more."""
        kernel = self.kernels[shard]
        kernel.record(INGRESS, ANSWER, self.id_of(shard, connection))
        kernel.head()
        self.batch(shard, [], lowest_held=kernel.counter + 1)

    @rule(shard=st.integers(0, SHARDS - 1))
    def reordered(self, shard: int) -> None:
        kernel = self.kernels[shard]
        heads = [kernel.head(shard=shard, lowest_held=1) for _ in range(3)]
        for head in (heads[1], heads[2], heads[0], heads[1]):  # one of them twice
            self.publish(head, [])

    @rule()
    def close(self) -> None:
        """All that are open, so that later ones have other ids."""
        for shard, kernel in enumerate(self.kernels):
            open_now = sorted(n for n in self.named if n // 1000 % SHARDS == shard)
            self.batch(shard, [], closed=tuple(kernel.closed(number) for number in open_now))
        self.generation += 1
        self.named.clear()

    @rule(shard=st.integers(0, SHARDS - 1), seconds=st.sampled_from([1, 3, 20]))
    def tick(self, shard: int, seconds: int) -> None:
        self.kernels[shard].now += seconds * 10**9
        self.batch(shard, [])

    # --- replicas -------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.5, 5, 12]))
    def advance(self, seconds: float) -> None:
        self.simulation.advance(seconds)

    @rule(share=st.sampled_from([0.0, 0.3]))
    def refuse(self, share: float) -> None:
        """The bus takes some publications only when they come again, behind later ones."""
        self.simulation.server.refuses = share

    @rule(kind=kinds)
    def start(self, kind: str) -> None:
        if len(self.simulation.living(kind)) < 4:
            self.simulation.start(kind)

    @rule(kind=kinds, which=st.integers(0, 3), steps=st.integers(1, 120))
    def kill(self, kind: str, which: int, steps: int) -> None:
        """After so many more awaits of the bus, wherever that is."""
        if living := self.simulation.living(kind):
            living[which % len(living)].bus.fate = steps

    @rule(kind=kinds, which=st.integers(0, 3))
    def stop(self, kind: str, which: int) -> None:
        if living := self.simulation.living(kind):
            living[which % len(living)].stopping.set()

    @rule(kind=kinds, which=st.integers(0, 3))
    def stand_still(self, kind: str, which: int) -> None:
        """SIGSTOP; others may take over meanwhile."""
        if living := self.simulation.living(kind):
            living[which % len(living)].bus.stand_still()

    @rule(kind=kinds)
    def go_on(self, kind: str) -> None:
        for replica in self.simulation.living(kind):
            replica.bus.go_on()

    # --- what holds -----------------------------------------------------------------------------

    @invariant()
    @precondition(lambda self: self.simulation.server.streams["FRAMES"].history)
    def nothing_is_there_twice_or_different(self) -> None:
        for kind in KINDS:
            stored = simulation.outputs_of(self.simulation.server, kind)
            expected, _ = simulation.undisturbed(self.simulation.server, kind)
            others = [name for name, data in stored.items() if expected.get(name) != data]
            assert (kind, others) == (kind, [])

    def teardown(self) -> None:
        try:
            self.simulation.settle()
            for kind in KINDS:
                stored = simulation.outputs_of(self.simulation.server, kind)
                expected, works = simulation.undisturbed(self.simulation.server, kind)
                assert (kind, sorted(expected.keys() - stored.keys())) == (kind, [])
                ledger = simulation.ledger_of(kind, self.simulation.works(kind))
                assert repr(ledger) == repr(simulation.ledger_of(kind, works))
            stored = simulation.outputs_of(self.simulation.server, "collect")
            assert simulation.in_order(self.simulation.server) == stored.keys()
            self.simulation.advance(12)
            self.nothing_is_left_of_former_owners()
        finally:
            self.simulation.close()

    def nothing_is_left_of_former_owners(self) -> None:
        """Values in the bucket are those that the heads name; the others were cleared."""
        entries = self.simulation.server.buckets["plainwire_state"]
        assert sum(key.endswith(".head") for key in entries) == 2 * SHARDS


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
