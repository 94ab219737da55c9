"""`plainwire coverage` as a table, and what a run warns of."""

from __future__ import annotations

import msgspec

from services.cli.overview import GRACE_NS, MOST_SAID, Uncaptured, overview
from services.messages import Coverage, CoverageEntry

JAVA = CoverageEntry(
    pid=4242, process="java", state="not_captured", library="jsse", seen_on_wire=True, since_ns=1,
    reason="Java's own TLS (JSSE) in libjvm.so: no probe reads it",
    mend="capture the other end of its connections",
)  # fmt: skip

LATER = JAVA.since_ns + GRACE_NS


def told(*entries: CoverageEntry, **more: object) -> Coverage:
    return Coverage(node="n", time_ns=0, epoch=1, attached=(), processes=entries, **more)


def test_the_table_fits_a_terminal_and_says_why_and_what_mends() -> None:
    captured = CoverageEntry(
        pid=7, process="curl", state="captured", library="openssl 3.0.17", file="/l", ended=True
    )
    lines = list(overview(told(JAVA, captured), 80))
    assert lines == [
        "n: 1 captured, 1 not captured",
        "PROCESS                  STATE        TLS",
        "curl[7]                  captured     openssl 3.0.17 /l (ended)",
        "java[4242]               not captured jsse",
        "    why: Java's own TLS (JSSE) in libjvm.so: no probe reads it",
        "    mend: capture the other end of its connections",
    ]


def test_no_line_is_wider_than_the_terminal() -> None:
    long = CoverageEntry(
        pid=4194304, process="a\x1bname-that-is-long-beyond-all", state="partly",
        library="openssl 3.0.17", file="/usr/lib/x86_64-linux-gnu/libssl.so.3" * 2,
        reason="what it sends " * 20,
    )  # fmt: skip
    lines = list(overview(told(long, failed=(("/lib/x" * 20, "refused"),)), 80))
    assert max(map(len, lines)) <= 80
    assert "[4194304]" in lines[2]
    assert all(line.isprintable() for line in lines)


def test_a_long_path_is_cut_in_its_middle() -> None:
    path = "/srv/some/long/way/down/to/the/library/libssl.so.3"
    entry = CoverageEntry(
        pid=7, process="curl", state="captured", library="openssl", file=path, ended=True
    )
    line = list(overview(told(entry), 60))[-1]
    assert line == "curl[7]                  captured     o+/libssl.so.3 (ended)"
    assert f" openssl {path} (ended)" in list(overview(told(entry), 200))[-1]


def test_a_name_longer_than_its_place_keeps_its_end() -> None:
    entry = CoverageEntry(
        pid=7, process="curl", state="captured", library="openssl", file=f"/{'a' * 40}.so"
    )
    line = list(overview(told(entry), 60))[-1]
    assert len(line) == 60
    assert line.endswith("aaa.so")


def test_a_node_without_tls_says_what_is_probed() -> None:
    assert list(overview(told(), 80)) == ["n: no process uses TLS", "probes on no file"]


def test_what_speaks_tls_past_the_probes_is_said_once() -> None:
    found = Uncaptured()
    assert found.news(told(JAVA), LATER) == [
        "java[4242] speaks TLS that isn't captured: Java's own TLS (JSSE) in libjvm.so: no probe "
        "reads it (capture the other end of its connections)"
    ]
    assert found.news(told(JAVA), LATER) == []


def test_what_turns_out_to_be_captured_is_never_said_to_be_missed() -> None:
    found = Uncaptured()
    assert found.news(told(JAVA), LATER - 1) == []
    assert found.pending
    captured = msgspec.structs.replace(JAVA, state="captured")
    assert found.news(told(captured), LATER) == []
    assert not found.pending
    assert len(found.news(told(JAVA), LATER)) == 1


def test_at_the_end_nothing_is_held_back() -> None:
    found = Uncaptured()
    assert found.news(told(JAVA), LATER - 1) == []
    assert len(found.unnamed(told(JAVA))) == 1
    assert found.unnamed(told(JAVA)) == []


def test_who_is_excluded_captured_or_not_on_the_wire_is_no_news() -> None:
    entries = (
        CoverageEntry(pid=1, process="a", state="excluded", seen_on_wire=True),
        CoverageEntry(pid=2, process="b", state="captured", seen_on_wire=True),
        CoverageEntry(pid=3, process="c", state="not_captured", reason="no symbols"),
    )
    assert Uncaptured().news(told(*entries), LATER) == []


def test_what_is_not_named_yet_is_awaited_until_the_end() -> None:
    found = Uncaptured()
    unnamed = CoverageEntry(
        pid=1, process="a", state="not_captured", reason="nobody knows", seen_on_wire=True,
        pending=True,
    )  # fmt: skip
    assert found.news(told(unnamed), LATER) == []
    assert found.pending
    assert found.unnamed(told(unnamed)) == ["a[1] speaks TLS that isn't captured: nobody knows"]


def test_many_are_said_to_be_many() -> None:
    many = (
        CoverageEntry(pid=pid, process="a", state="partly", reason="x", seen_on_wire=True)
        for pid in range(MOST_SAID + 5)
    )
    lines = Uncaptured().news(told(*many), LATER)
    assert len(lines) == MOST_SAID + 1
    assert lines[0] == "a[0] speaks TLS that is captured in part only: x"
    assert lines[-1].startswith("more processes")


def test_what_found_no_room_is_said() -> None:
    lines = list(overview(told(untold_targets=2, untold_processes=3), 80))
    assert lines[1] == ("too many for one message: 2 files are not probed, 3 processes not listed")
    lines = list(overview(told(untold_files=1, untold_sites=4), 80))
    assert lines[1] == "too many for one message: 1 files not listed, 4 sites of probes not listed"
