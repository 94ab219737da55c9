"""What people are told about each process."""

from __future__ import annotations

import msgspec

from services.capture.channel import OnWire
from services.capture.parent import coverage
from services.capture.parent.onwire import Fact
from services.capture.parent.users import KEPT_NS, MAX_USERS, Users
from services.messages import (
    CoverageEntry,
    FileIdentity,
    Opened,
    Source,
    Target,
    Targets,
    TlsProcess,
)

TARGET = Target(
    identity=FileIdentity(device=1, inode=2, size=3, mtime_ns=4), path="/p", name="/lib/libssl",
    family="openssl", library="openssl 3", sites=(),
)  # fmt: skip
KEY = TARGET.identity.key()
ON_WIRE = OnWire(pid=7, start_boot_ns=1, process="app", tcp=True)


def known(*processes: TlsProcess, attached: bool = True, failed: str = "") -> coverage.Known:
    return coverage.Known(
        Targets(node="n", time_ns=1, targets=(TARGET,), processes=processes),
        {KEY: TARGET} if attached else {},
        {KEY: failed} if failed else {},
        lambda pid: "",
    )


def fact(rule: str = "", ended_ns: int = 0, **told: bool) -> dict[int, Fact]:
    return {7: Fact(msgspec.structs.replace(ON_WIRE, **told), 4, rule, ended_ns)}


def entry(what: coverage.Known) -> CoverageEntry:
    told = coverage.describe(what, 5, 6)
    assert (told.node, told.time_ns, told.epoch) == ("n", 5, 6)
    (found,) = told.processes
    return found


def seen(what: coverage.Known, facts: dict[int, Fact]) -> CoverageEntry:
    return entry(_replaced(what, facts=facts))


def _replaced(what: coverage.Known, **changes: object) -> coverage.Known:
    return coverage.Known(**{**what.__dict__, **changes})


def process(*, target: str = KEY, **more: str) -> TlsProcess:
    return TlsProcess(pid=7, start_boot_ns=1, process="app", target=target, **more)


def test_a_process_whose_target_is_attached_is_captured() -> None:
    found = entry(known(process()))
    assert (found.state, found.file, found.reason) == ("captured", "/lib/libssl", "")


def test_a_process_in_a_container_is_told_with_it() -> None:
    assert entry(known(process(container_id="c1"))).container_id == "c1"


def test_a_process_that_the_filter_leaves_out_is_excluded_by_a_rule() -> None:
    found = entry(_replaced(known(process()), rule=lambda pid: f"rule for {pid}"))
    assert (found.state, found.reason) == ("excluded", "rule for 7")


def test_a_target_that_could_not_be_attached_says_why() -> None:
    found = entry(known(process(), attached=False, failed="no such file"))
    assert (found.state, found.reason) == ("not_captured", "no such file")


def test_a_process_without_target_has_discovery_s_reason_and_mend() -> None:
    found = entry(known(process(target="", reason="no symbols", mend="keep them")))
    assert (found.state, found.reason, found.mend) == ("not_captured", "no symbols", "keep them")


def test_a_process_some_of_whose_connections_are_shed_is_partly_captured() -> None:
    told = coverage.describe(known(process()), 5, 6)
    (found,) = coverage.with_shed(told, {7: 3, 8: 1}).processes
    assert (found.state, found.file) == ("partly", "/lib/libssl")
    assert found.reason == "3 of its connections are shed, to stay within the budget"
    assert coverage.with_shed(told, {8: 1}) == told


def test_whoever_is_seen_on_the_wire_is_named_before_discovery_knows() -> None:
    found = seen(known(), fact())
    assert (found.state, found.reason) == ("not_captured", coverage.UNNAMED)
    assert (found.evidence, found.since_ns) == ("TLS records on TCP", 4)


def test_records_past_the_probes_are_no_proof_against_a_library_that_is_used() -> None:
    for facts in (fact(used=True), fact()):
        found = seen(known(process()), facts)
        assert (found.state, found.reason, found.seen_on_wire) == ("captured", "", True)


def test_a_library_that_is_never_used_while_records_go_is_not_what_speaks() -> None:
    found = seen(known(process(library="openssl 3", beside="BoringSSL in x.so")), fact(unused=True))
    assert found.state == "partly"
    assert found.reason == "what it sends isn't by openssl 3: BoringSSL in x.so"


def test_quic_is_missed_also_where_all_else_is_captured() -> None:
    found = seen(known(process()), fact(tcp=False, quic=True))
    assert (found.state, found.reason) == ("partly", coverage.QUIC)
    assert found.evidence == "a QUIC handshake on UDP"
    alone = seen(known(), fact(tcp=False, quic=True))
    assert (alone.state, alone.reason, alone.mend) == (
        "not_captured",
        coverage.QUIC,
        coverage.MEND_QUIC,
    )


def test_who_was_excluded_while_it_lived_stays_so_after_its_end() -> None:
    found = seen(known(), fact(rule="left out", ended_ns=9))
    assert (found.state, found.reason, found.ended) == ("excluded", "left out", True)


def test_a_fact_of_a_former_process_says_nothing_of_its_pid_s_next() -> None:
    later = msgspec.structs.replace(process(target="", reason="why"), start_boot_ns=10**9)
    found = seen(known(later), fact(used=True))
    assert (found.state, found.reason, found.seen_on_wire) == ("not_captured", "why", False)


def test_a_process_that_discovery_can_t_read_is_captured_by_its_connections() -> None:
    users = {7: ("app", "openssl 3")}
    found = entry(_replaced(known(), users=users))
    assert (found.state, found.process, found.library) == ("captured", "app", "openssl 3")
    assert entry(_replaced(known(process(target="", reason="x")), users=users)).state == "captured"


def test_of_one_that_ended_is_said_what_was_said_while_it_lived() -> None:
    facts = fact(unused=True, ended_ns=9)
    facts[7].entry = CoverageEntry(pid=7, process="app", state="partly", reason="two kinds")
    found = seen(known(process(target="", reason="what is left")), facts)
    assert (found.state, found.reason, found.ended) == ("partly", "two kinds", True)


def opened(tls: str, pid: int = 7, boot_ns: int = 5) -> Opened:
    source = Source(node="n", namespace="host", pid=pid, process="app", tls=tls)
    return Opened(connection=1, source=source, first_boot_ns=boot_ns)


def using(what: coverage.Known, *connections: Opened) -> coverage.Known:
    users = Users()
    users.hear(connections, 1)
    return _replaced(what, used=users.known(1))


def test_the_library_is_that_of_the_connections_that_were_seen() -> None:
    both = known(process(library="gnutls 3, openssl 3"))
    assert (entry(both).library, entry(both).file) == ("gnutls 3, openssl 3", "")
    found = entry(using(both, opened("openssl 3")))
    assert (found.library, found.file) == ("openssl 3", "/lib/libssl")
    found = entry(using(both, opened("openssl 3"), opened("gnutls 3")))
    assert found.library == "openssl 3, gnutls 3"


def test_one_that_ended_is_told_with_the_library_of_its_connections() -> None:
    found = seen(using(known(), opened("openssl 3")), fact(ended_ns=9))
    assert (found.state, found.library, found.ended) == ("captured", "openssl 3", True)


def test_what_was_said_before_its_connections_were_heard_of_is_taken_back() -> None:
    facts = fact(ended_ns=9)
    facts[7].entry = CoverageEntry(pid=7, process="app", state="not_captured", reason="unknown")
    found = seen(using(known(), opened("openssl 3")), facts)
    assert (found.state, found.library, found.reason) == ("captured", "openssl 3", "")
    named = known(process(target="", reason="it has ended"))
    assert entry(using(named, opened("openssl 3"))).state == "captured"


def test_connections_of_a_former_process_are_not_its_pid_s_next_one_s() -> None:
    later = msgspec.structs.replace(process(target="", reason="why"), start_boot_ns=10**9)
    assert entry(using(known(later), opened("openssl 3"))).state == "not_captured"


def test_users_are_bounded_counted_and_forgotten() -> None:
    users = Users()
    assert users.hear([opened("openssl 3")], 1)
    assert not users.hear([opened("openssl 3")], 2)
    users.hear((opened("x", pid) for pid in range(100, 100 + MAX_USERS)), 3)
    assert (len(users.known(3)), users.evicted) == (MAX_USERS, 1)
    assert not users.known(4 + KEPT_NS)
