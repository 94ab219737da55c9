"""The node's desired state: one target a file, one entry a process, and when it is news."""

from __future__ import annotations

import msgspec

from services.discovery import inventory
from services.discovery.code import stacks
from services.discovery.inventory import Finding, Reach, Seen
from services.messages import FileIdentity, Site, TlsProcess

SITE = Site(
    operation="read",
    event="enter",
    abi="returns_length",
    function="SSL_read",
    kind="uprobe",
    address=0x1000,
    offset=0x1000,
    cost="emulated",
)


def identity(inode: int) -> FileIdentity:
    return FileIdentity(device=1, inode=inode, size=100, mtime_ns=5, build_id="ab")


def reach(inode: int, path: str, *, reason: str = "") -> Reach:
    sites = () if reason else (SITE,)
    found = Finding(identity=identity(inode), library="openssl 3.0.1", sites=sites, reason=reason)
    return Reach(finding=found, path=path, name="/usr/lib/libssl.so.3")


def seen(pid: int, *reaches: Reach) -> Seen:
    return Seen(pid=pid, start_boot_ns=pid * 1000, process=f"p{pid}", reaches=reaches)


def test_a_file_is_one_target_however_many_map_it() -> None:
    state = inventory.targets(
        "n",
        7,
        [reach(1, "/usr/lib/libssl.so.3")],
        [
            seen(2, reach(1, "/usr/lib/libssl.so.3")),
            seen(3, reach(1, "/proc/3/root/lib/libssl.so.3")),
        ],
    )
    assert [target.path for target in state.targets] == ["/usr/lib/libssl.so.3"]
    assert [p.target for p in state.processes] == ["1-1", "1-1"]


def test_the_path_that_lasts_longest_opens_the_file() -> None:
    ways = ["/proc/4/map_files/1-2", "/proc/5/root/lib/libssl.so.3", "/lib/libssl.so.3"]
    for count, expected in ((1, ways[0]), (2, ways[1]), (3, ways[2])):
        processes = [seen(10 + n, reach(1, way)) for n, way in enumerate(ways[:count])]
        assert inventory.targets("n", 7, [], processes).targets[0].path == expected


def test_the_oldest_process_lends_its_root_so_that_a_new_one_changes_nothing() -> None:
    old, new = seen(4, reach(1, "/proc/4/root/l")), seen(5, reach(1, "/proc/5/root/l"))
    assert inventory.targets("n", 7, [], [new, old]).targets[0].path == "/proc/4/root/l"


def test_a_process_is_covered_by_whichever_of_its_files_can_be_probed() -> None:
    state = inventory.targets(
        "n", 7, [], [seen(2, reach(1, "/a", reason="stripped"), reach(3, "/b"))]
    )
    assert [(p.target, p.reason) for p in state.processes] == [("1-3", "")]
    assert len(state.targets) == 1


def test_a_process_that_cannot_be_covered_says_why() -> None:
    state = inventory.targets("n", 7, [], [seen(2, reach(1, "/a", reason="no symbols in it"))])
    assert state.targets == ()
    assert state.processes[0].reason == "/usr/lib/libssl.so.3: no symbols in it"


def test_the_same_state_is_no_news_until_it_is_said_too_long_ago() -> None:
    first = inventory.targets("n", 0, [reach(1, "/a")], [])
    assert inventory.is_news(None, first, 30)
    assert not inventory.is_news(first, msgspec.structs.replace(first, time_ns=29), 30)
    assert inventory.is_news(first, msgspec.structs.replace(first, time_ns=30), 30)
    assert inventory.is_news(first, inventory.targets("n", 1, [], []), 30)


def test_a_state_too_large_for_the_bus_keeps_its_targets() -> None:
    state = inventory.targets(
        "n", 7, [reach(1, "/a")], [seen(pid, reach(1, "/a")) for pid in range(100)]
    )
    whole = len(msgspec.json.encode(state))
    assert inventory.fitting(state, whole) == state
    fitting = inventory.fitting(state, whole // 2)
    assert fitting.targets == state.targets
    assert 0 < len(fitting.processes) < 100
    assert len(msgspec.json.encode(fitting)) <= whole // 2


def named(process: Seen) -> TlsProcess:
    (found,) = inventory.targets("n", 7, [], [process]).processes
    return found


def on_wire(process: Seen, *libraries: str, unreadable: bool = False) -> TlsProcess:
    known = (stacks.by_name(path) for path in libraries)
    found = tuple(stack for stack in known if stack is not None)
    wired = msgspec.structs.replace(process, on_wire=True, stacks=found, unreadable=unreadable)
    return named(wired)


def test_what_goes_over_the_wire_is_named_by_the_code_that_is_there() -> None:
    found = on_wire(seen(2), "/jdk/libjvm.so")
    assert (found.target, found.library, found.seen_on_wire) == ("", "jsse", True)
    assert found.reason == "Java's own TLS (JSSE) in libjvm.so: no probe reads it"
    assert found.mend == stacks.OTHER_END


def test_unknown_code_is_said_to_be_unknown() -> None:
    found = on_wire(seen(2))
    assert (found.reason, found.mend) == (inventory.UNKNOWN, stacks.OTHER_END)


def test_of_one_that_is_gone_it_is_not_said_that_nothing_was_in_it() -> None:
    gone = msgspec.structs.replace(
        seen(2), ended=inventory.ENDED_UNSEEN, had="go crypto/tls go1.26.8"
    )
    found = on_wire(gone)
    assert (found.library, found.reason, found.mend) == (gone.had, inventory.ENDED_UNSEEN, "")
    assert "JSSE" in on_wire(gone, "/jdk/libjvm.so").reason


def test_of_several_libraries_that_can_be_probed_all_are_named() -> None:
    other = reach(2, "/g")
    other = msgspec.structs.replace(
        other, finding=msgspec.structs.replace(other.finding, library="gnutls 3.7.9")
    )
    assert named(seen(2, other, reach(1, "/l"))).library == "gnutls 3.7.9, openssl 3.0.1"


def test_a_library_without_sites_stays_the_first_reason() -> None:
    found = on_wire(seen(2, reach(1, "/l", reason="no symbols")), "/a/libnss3.so")
    assert found.reason == "/usr/lib/libssl.so.3: no symbols; NSS in libnss3.so: no probe reads it"


def test_other_code_beside_a_probed_library_is_told_as_such() -> None:
    found = on_wire(seen(2, reach(1, "/l")), "/jdk/libjvm.so")
    assert (found.target, found.reason) == ("1-1", "")
    assert found.beside == "Java's own TLS (JSSE) in libjvm.so"
    assert named(seen(2, reach(1, "/l"))).beside == ""


def test_what_can_t_be_read_is_said_to_be_so() -> None:
    found = on_wire(seen(2), unreadable=True)
    assert (found.reason, found.mend) == (inventory.UNREADABLE, inventory.MEND_UNREADABLE)


def test_libcrypto_is_a_target_and_covers_nothing() -> None:
    cipher = msgspec.structs.replace(SITE, operation="cipher", function="BIO_write")
    found = Finding(identity=identity(2), library="openssl 3.0.1", sites=(cipher,))
    crypto = Reach(finding=found, path="/usr/lib/libcrypto.so.3", name="/usr/lib/libcrypto.so.3")
    process = msgspec.structs.replace(seen(4, reach(1, "/l", reason="stripped")), besides=(crypto,))
    state = inventory.targets("n", 7, [], [process])
    assert [target.name for target in state.targets] == ["/usr/lib/libcrypto.so.3"]
    assert [(p.target, p.reason) for p in state.processes] == [
        ("", "/usr/lib/libssl.so.3: stripped")
    ]


def test_targets_that_alone_are_too_many_are_counted() -> None:
    reaches = [reach(n, f"/usr/lib/{n}/libssl.so.3") for n in range(100)]
    state = inventory.targets("n", 7, reaches, [seen(n, reaches[n]) for n in range(100)])
    most = len(msgspec.json.encode(state.targets)) // 2
    told = inventory.fitting(state, most)
    assert len(msgspec.json.encode(told)) <= most
    assert 0 < len(told.targets) < 100
    assert (told.untold_targets, told.untold_processes) == (100 - len(told.targets), 100)
